import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const hostile = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc
    .array(fc.constantFrom("'", '\\', '\n', '\t', '\r', '\0', ';', '"', '`', '--', '{', '}', 'x', 'é', '😀'), {
      maxLength: 12,
    })
    .map((parts) => parts.join('')),
);

test('whatever text a parameter holds, the engine gets that text and no SQL', async () => {
  await fc.assert(
    fc.asyncProperty(hostile, fc.array(hostile, { maxLength: 6 }), fc.integer(), async (text, list, number) => {
      const [row] = await rows(
        store,
        'SELECT {text:String} AS text, {list:Array(String)} AS list, toString({number:Int64}) AS number',
        {
          text: text,
          list,
          number,
        },
      );
      expect(row).toEqual({
        text: text,
        list,
        number: String(number),
      });
    }),
    { numRuns: 60 },
  );
});

test('reads with parameters run side by side, each with its own', async () => {
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      rows(store, 'SELECT {name:String} AS name, sleepEachRow(0.01)', { name: `n${i}` }),
    ),
  );
  expect(answers.map(([row]) => row?.name)).toEqual(Array.from({ length: 20 }, (_, i) => `n${i}`));
});
