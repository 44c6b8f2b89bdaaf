// A vitest reporter that counts, for the last line of `npm test`.
import { writeFileSync } from 'node:fs';

/** TallyReporter writes {passed, failed, skipped} to the file that TOKENWATCH_TALLY names. */
export default class TallyReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const tally = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') tally.passed++;
        else if (state === 'failed') tally.failed++;
        else tally.skipped++;
      }
      // A file or a describe that broke outside of its tests failed too, though no test of it may say so.
      tally.failed += module.errors().length;
      for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
    }
    tally.failed += unhandledErrors.length;
    writeFileSync(process.env.TOKENWATCH_TALLY, JSON.stringify(tally));
  }
}
