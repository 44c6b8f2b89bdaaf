import { z } from 'zod';
import { KNOBS, type Knob } from './knobs.ts';
import type { AlertsConfig, ChannelConfig, DetectorConfig, IngestConfig, Route } from './types.ts';

/** ALLOWED_KEYS begins the message of an unknown key; explain.ts reads the list that follows. */
export const ALLOWED_KEYS = 'allowed keys: ';

/** NAME is what a channel may be called. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

const webhook = section({
  type: z.literal('webhook'),
  url: needed(KNOBS['alerts.channels.*.url']),
  secret: optional(KNOBS['alerts.channels.*.secret']),
  allow_private_network: preset(KNOBS['alerts.channels.*.allow_private_network']),
});

const slack = section({
  type: z.literal('slack'),
  url: needed(KNOBS['alerts.channels.*.url']),
  allow_private_network: preset(KNOBS['alerts.channels.*.allow_private_network']),
});

const email = section({
  type: z.literal('email'),
  smtp: needed(KNOBS['alerts.channels.*.smtp']),
  from: needed(KNOBS['alerts.channels.*.from']),
  to: needed(KNOBS['alerts.channels.*.to']),
});

const channel = z.discriminatedUnion('type', [webhook, slack, email]).transform((raw): ChannelConfig => {
  if (raw.type === 'email') return raw;
  if (raw.type === 'slack') return { type: 'slack', url: raw.url, allowPrivateNetwork: raw.allow_private_network };
  return { type: 'webhook', url: raw.url, secrets: raw.secret ?? [], allowPrivateNetwork: raw.allow_private_network };
});

const route = section({
  match: section({
    severity: optional(KNOBS['alerts.routes[].match.severity']),
    owner: optional(KNOBS['alerts.routes[].match.owner']),
    detector: optional(KNOBS['alerts.routes[].match.detector']),
  }).prefault({}),
  channels: needed(KNOBS['alerts.routes[].channels']),
}).transform((raw): Route => ({ match: raw.match, channels: raw.channels }));

const ingest = section({
  batch_rows: preset(KNOBS['ingest.batch_rows']),
  batch_bytes: preset(KNOBS['ingest.batch_bytes']),
  linger: preset(KNOBS['ingest.linger']),
  body_limit: preset(KNOBS['ingest.body_limit']),
  line_limit: preset(KNOBS['ingest.line_limit']),
  buffer_limit: preset(KNOBS['ingest.buffer_limit']),
}).transform(
  (raw): IngestConfig => ({
    batchRows: raw.batch_rows,
    batchBytes: raw.batch_bytes,
    lingerMs: raw.linger,
    bodyLimitBytes: raw.body_limit,
    lineLimitBytes: raw.line_limit,
    bufferLimitBytes: raw.buffer_limit,
  }),
);

const listed = optional(KNOBS['geo.networks.*']);
const networks = section({ relay: listed, vpn: listed, hosting: listed, mobile: listed, business: listed });

const detector = z
  .object({ enabled: preset(KNOBS['detectors.*.enabled']) })
  .catchall(KNOBS['detectors.*.*'].field.schema)
  .transform(({ enabled, ...params }): DetectorConfig => ({ enabled, params }));

const alerts = section({
  max_age: preset(KNOBS['alerts.max_age']),
  budget: preset(KNOBS['alerts.budget']),
  channels: z.record(z.string().regex(NAME), channel).prefault({}),
  routes: z.array(route).prefault([]),
}).transform(
  (raw): AlertsConfig => ({
    maxAgeMs: raw.max_age,
    budget: raw.budget,
    channels: raw.channels,
    routes: raw.routes,
  }),
);

/** schema reads the file's shape (after variables are filled in) into the configuration's, paths still as they were written. */
export const schema = section({
  listen: preset(KNOBS.listen),
  data: preset(KNOBS.data),
  store: section({
    url: optional(KNOBS['store.url']),
    retention: section({ events: preset(KNOBS['store.retention.events']) }).prefault({}),
  }).prefault({}),
  queue: section({ url: optional(KNOBS['queue.url']) }).prefault({}),
  geo: section({
    country: optional(KNOBS['geo.country']),
    city: optional(KNOBS['geo.city']),
    asn: optional(KNOBS['geo.asn']),
    networks: networks.prefault({}),
    egress: optional(KNOBS['geo.egress']),
  }).prefault({}),
  ingest: ingest.prefault({}),
  detectors: z.record(z.string(), detector).prefault({}),
  alerts: alerts.prefault({}),
  log: section({ level: preset(KNOBS['log.level']) }).prefault({}),
});

function section<T extends z.ZodRawShape>(shape: T) {
  const allowed = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `${ALLOWED_KEYS}${allowed}` : undefined),
  });
}

function needed<T>(knob: Knob<T>) {
  return knob.field.schema;
}

function optional<T>(knob: Knob<T>) {
  return knob.field.schema.optional();
}

function preset<T>(knob: Knob<T>) {
  return knob.field.schema.prefault(knob.preset);
}
