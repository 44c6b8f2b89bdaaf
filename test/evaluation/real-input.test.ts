import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { runRealInput } from '../../evaluation/real-input.ts';
import { realText } from '../../evaluation/report.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-real-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let serial = 0;
/** A CloudTrail record; access keys are made up. */
function record(userIdentity: object, eventName: string, fields: object = {}): object {
  serial++;
  return {
    eventTime: new Date(Date.UTC(2026, 10, 20, 9) + serial * 1_000).toISOString(),
    ...{ eventSource: 'ec2.amazonaws.com', eventName, awsRegion: 'eu-west-1', sourceIPAddress: '8.8.8.8' },
    ...{ userAgent: 'stratus-red-team_1', requestID: `r${serial}`, eventID: `e${serial}`, userIdentity },
    ...{ requestParameters: null, responseElements: null },
    ...fields,
  };
}

const mallory = { type: 'IAMUser', userName: 'mallory', accessKeyId: 'AKIAMALLORYEXAMPLE' };
const session = {
  type: 'AssumedRole',
  accessKeyId: 'ASIASESSIONEXAMPLE',
  sessionContext: { sessionIssuer: { type: 'Role', userName: 'backup-role' } },
};
const bystander = { type: 'IAMUser', userName: 'alice', accessKeyId: 'AKIAALICEEXAMPLE' };

test('who uses the attack tool is alerted, or named on the alert of who opened the session; a bystander is neither', async () => {
  const walk = Array.from({ length: 60 }, (_, i) =>
    record(mallory, `DescribeThing${i}`, { errorCode: 'Client.UnauthorizedOperation' }),
  );
  const opened = record(mallory, 'AssumeRole', {
    eventSource: 'sts.amazonaws.com',
    requestParameters: { roleArn: 'arn:aws:iam::111122223333:role/backup-role' },
    responseElements: { credentials: { accessKeyId: session.accessKeyId } },
  });
  const used = record(session, 'GetPasswordData', { errorCode: 'Client.UnauthorizedOperation' });
  const quiet = Array.from({ length: 10 }, () => record(bystander, 'DescribeInstances', { userAgent: 'aws-cli/2' }));
  const file = join(folder, 'trail.ndjson');
  writeFileSync(file, [...walk, opened, used, ...quiet].map((one) => `${JSON.stringify(one)}\n`).join(''));

  const real = await runRealInput(file, folder);
  const of = Object.fromEntries(real.principals.map((one) => [one.owner, one]));
  expect(of.mallory?.alerts.join()).toContain('high: AKIAMALLORYEXAMPLE');
  expect(of['backup-role']).toMatchObject({ alerts: [], namedWith: ['mallory'], byAttackTool: 1 });
  expect(of.alice).toMatchObject({ alerts: [], namedWith: [] });
  const text = realText(real).join('\n');
  expect(text).toContain('3 principals and 3 tokens: 1 alerted, 1 more named on their alerts.');
  expect(text).toMatch(/backup-role: .*no alert of its own, named on that of mallory/);
  expect(text).toMatch(/alice: .*not alerted/);
});
