import { answerOnce } from './processes.ts';
import { runRealInput } from './real-input.ts';

/** RealQuestion asks for a real log to be judged. */
export interface RealQuestion {
  readonly file: string;
}

answerOnce(({ file, folder }: RealQuestion & { readonly folder: string }) => runRealInput(file, folder));
