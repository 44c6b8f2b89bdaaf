import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DETECTORS } from '../../detectors/index.ts';
import { enabledDetectors, toDetection } from '../../detectors/run.ts';

describe('the set of detectors', () => {
  it('has unique ids', () => {
    expect(new Set(DETECTORS.map((detector) => detector.id)).size).toBe(DETECTORS.length);
  });

  for (const detector of DETECTORS)
    describe(detector.id, () => {
      const params = enabledDetectors({}).find((enabled) => enabled.detector === detector)?.params ?? {};

      it('says what it is, what to do, and what it misses', () => {
        expect(detector.title).not.toBe('');
        expect(detector.about.length).toBeGreaterThan(40);
        expect(detector.runbook.length).toBeGreaterThan(40);
        expect(detector.knownGaps.length).toBeGreaterThan(0);
      });

      it('has an example that fires and one that stays silent', () => {
        expect(new Set(detector.examples.map((example) => example.fires))).toEqual(new Set([true, false]));
      });

      it.each(detector.examples.map((example) => [example.name, example] as const))('judges: %s', (_name, example) => {
        const paging = detector
          .judge(example.facts, params, example.since)
          .filter((finding) => ['medium', 'high', 'critical'].includes(finding.severity));
        expect(paging.length > 0).toBe(example.fires);
      });

      it('finds the same ids again, each once', () => {
        for (const example of detector.examples) {
          const ids = () =>
            detector.judge(example.facts, params, example.since).map((finding) => toDetection(detector.id, finding).id);
          expect(ids()).toEqual(ids());
          expect(new Set(ids()).size).toBe(ids().length);
        }
      });

      it('is documented, every parameter with it', () => {
        const text = readFileSync(new URL('../../docs/detectors.md', import.meta.url), 'utf8');
        expect(text).toContain(`## ${detector.id}`);
        for (const name of Object.keys(detector.params)) expect(text).toContain(`\`${name}\``);
      });
    });
});
