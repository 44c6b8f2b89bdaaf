import { SEVERITIES } from '../core/index.ts';
import {
  address,
  addressRange,
  budget,
  choice,
  duration,
  type Field,
  flag,
  listenAddress,
  mailAddress,
  number,
  oneOrMore,
  signingSecret,
  size,
  text,
  wholeNumber,
} from './fields.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const KIB = 1024;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** Knob is one key of the configuration: what it takes, what holds without it, what it is for. */
export interface Knob<T> {
  readonly field: Field<T>;
  /** As one would write it in the file; null when there is none and the key may be left out. */
  readonly preset: string | number | boolean | null;
  /** The key has to be there wherever its section is. */
  readonly required: boolean;
  /** Environment variable that wins over the file; '' when there is none. */
  readonly env: string;
  /** What it does, for docs/configuration.md. */
  readonly about: string;
}

/** The levels of the service's own log. */
const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;

/** KNOBS is every key that the configuration knows, by its path; `*` stands for a name that the operator chooses. */
export const KNOBS = {
  listen: knob(listenAddress(), '127.0.0.1:8653', 'Where the HTTP API listens.', 'TOKENWATCH_LISTEN'),
  data: knob(
    text('a folder'),
    './data',
    'Folder for the embedded store, the private Redis and the access key. One process owns it.',
    'TOKENWATCH_DATA',
  ),
  'store.url': knob(
    address('http', 'https'),
    null,
    'ClickHouse over HTTP, `http://user:password@host:8123/database`. Without it: the embedded engine, in `data`.',
    'CLICKHOUSE_URL',
  ),
  'store.retention.events': knob(
    duration(60 * MINUTE, 36_500 * DAY, 'forever'),
    '90d',
    'How long usage events are kept, counted from when they were received. Rejected lines stay for 30 days, the rest stays.',
  ),
  'queue.url': knob(
    address('redis', 'rediss'),
    null,
    'Redis 6.2 or newer, or Valkey, `redis://:password@host:6379/0`. Without it: a private redis-server, in `data`.',
    'REDIS_URL',
  ),
  'geo.country': knob(
    text('a file'),
    null,
    'GeoLite2 or GeoIP2 Country database (.mmdb). Without it: the bundled one.',
  ),
  'geo.city': knob(
    text('a file'),
    null,
    'GeoLite2 or GeoIP2 City database: coordinates for impossible travel, and the country when `country` is not set.',
  ),
  'geo.asn': knob(
    text('a file'),
    null,
    'GeoLite2 or GeoIP2 ASN or ISP database. Without it: `asn` is 0, and only the lists below tell kinds of networks.',
  ),
  'geo.networks.*': knob(
    oneOrMore(text('a file')),
    null,
    'Range lists by kind, `relay`, `vpn`, `hosting`, `mobile` or `business`: a range a line, # for comments. They win over what the network is called; see docs/operations.md.',
  ),
  'geo.egress': knob(
    oneOrMore(addressRange(), 1_000),
    null,
    "Ranges of the organisation's own NAT, proxy or VPN: calls from there are never a new place.",
  ),
  'ingest.batch_rows': knob(wholeNumber(1, 100_000), 5_000, 'A batch is stored when it has this many rows,'),
  'ingest.batch_bytes': knob(size(KIB, 256 * MIB), '8MiB', 'or this many encoded bytes,'),
  'ingest.linger': knob(
    duration(1, 10_000),
    '250ms',
    'or this long after its first row; at once, ten times a second at most, when a page may follow from it. More of it means fewer, larger inserts and later answers.',
  ),
  'ingest.body_limit': knob(size(KIB, 4 * GIB), '64MiB', 'Limit of one request, after decompression; above it: 413.'),
  'ingest.line_limit': knob(size(64, 16 * MIB), '1MiB', 'Limit of one line; a longer one is rejected by itself.'),
  'ingest.buffer_limit': knob(
    size(KIB, 64 * GIB),
    '256MiB',
    'Received but not yet stored bytes over all requests; above it: 503 with Retry-After.',
  ),
  'detectors.*.enabled': knob(flag(), true, 'Whether the detector runs.'),
  'detectors.*.*': knob(number(), null, "One of the detector's parameters; see docs/detectors.md."),
  'alerts.max_age': knob(
    duration(1_000, 36_500 * DAY, 'none'),
    '1h',
    'Events older than this teach the baselines but page nobody.',
  ),
  'alerts.budget': knob(
    budget(),
    'none',
    'How many alerts may page. With a budget the weakest are held back: recorded and shown, but sent as `low` ones are. See docs/operations.md.',
  ),
  'alerts.channels.*.type': required(choice(['webhook', 'slack', 'email']), 'What kind of channel it is.'),
  'alerts.channels.*.url': required(
    address('https', 'http'),
    'webhook, slack: where to post. For Slack the address of an incoming webhook, which is a secret.',
  ),
  'alerts.channels.*.secret': knob(
    oneOrMore(signingSecret(), 5),
    null,
    'webhook: signs each message (Standard Webhooks). While a secret is being changed, a list: newest first, each signs.',
  ),
  'alerts.channels.*.allow_private_network': knob(
    flag(),
    false,
    'webhook, slack: allow loopback, link-local and private addresses as the target.',
  ),
  'alerts.channels.*.smtp': required(
    address('smtp', 'smtps'),
    'email: the mail server, `smtp://user:password@host:587`; STARTTLS is used where offered, smtps is TLS from the start.',
  ),
  'alerts.channels.*.from': required(mailAddress(), 'email: the sender.'),
  'alerts.channels.*.to': required(oneOrMore(mailAddress(), 50), 'email: the recipients.'),
  'alerts.routes[].match.severity': knob(oneOrMore(choice(SEVERITIES)), null, 'Only alerts of these severities.'),
  'alerts.routes[].match.owner': knob(oneOrMore(text('an owner')), null, 'Only alerts about these owners.'),
  'alerts.routes[].match.detector': knob(
    oneOrMore(text('a detector')),
    null,
    'Only alerts that one of these detectors raised.',
  ),
  'alerts.routes[].channels': required(
    oneOrMore(text("a channel's name")),
    'Where alerts go that match. The first route that matches decides; no routes: medium and above go to every channel.',
  ),
  'log.level': knob(
    choice(LOG_LEVELS),
    'info',
    "How much the service's own log says; `debug` adds stack traces to errors.",
    'TOKENWATCH_LOG',
  ),
} as const;

/** knobsTable is the reference table of docs/configuration.md. */
export function knobsTable(): string {
  const rows = Object.entries(KNOBS).map(([path, k]: [string, Knob<unknown>]) => {
    const preset = k.required ? 'required' : k.preset === null ? '—' : `\`${k.preset}\``;
    const about = k.env === '' ? k.about : `${k.about} Environment: \`${k.env}\`.`;
    return `| \`${path}\` | ${preset} | ${k.field.allowed} | ${about} |`;
  });
  return ['| key | default | allowed | what it does |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function knob<T>(field: Field<T>, preset: Knob<T>['preset'], about: string, env = ''): Knob<T> {
  return { field, preset, required: false, env, about };
}

function required<T>(field: Field<T>, about: string): Knob<T> {
  return { field, preset: null, required: true, env: '', about };
}
