import type { NETWORK_KINDS, Severity } from '../core/index.ts';

/** Config is the whole configuration, validated and resolved: durations in milliseconds, sizes in bytes, paths absolute. */
export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly dataDir: string;
  readonly store: {
    /** ClickHouse HTTP address; null: the embedded engine in `dataDir`. */
    readonly url: string | null;
    /** How long usage events are kept, counted from when they were received; null: for ever. */
    readonly retention: { readonly eventsMs: number | null };
  };
  readonly queue: {
    /** Redis address; null: a private redis-server in `dataDir`. */
    readonly url: string | null;
  };
  readonly geo: GeoConfig;
  readonly ingest: IngestConfig;
  readonly detectors: Readonly<Record<string, DetectorConfig>>;
  readonly alerts: AlertsConfig;
  readonly log: { readonly level: string };
}

/** GeoConfig names what tells where calls come from; paths are absolute, null: not configured. */
export interface GeoConfig {
  readonly country: string | null;
  readonly city: string | null;
  readonly asn: string | null;
  /** Files with address ranges, by the kind of network that they list. */
  readonly networks: { readonly [kind in (typeof NETWORK_KINDS)[number]]?: readonly string[] };
  /** Address ranges through which the organisation's own calls leave it. */
  readonly egress: readonly string[];
}

/** IngestConfig bounds what the receiver takes and when a batch is stored. */
export interface IngestConfig {
  /** A batch leaves when it has this many rows, */
  readonly batchRows: number;
  /** or this many encoded bytes, */
  readonly batchBytes: number;
  /** or this long after its first row. */
  readonly lingerMs: number;
  /** Limit of one request's inflated body. */
  readonly bodyLimitBytes: number;
  /** Limit of one line. */
  readonly lineLimitBytes: number;
  /** Decoded but not yet stored bytes over all requests; above it the receiver answers 503. */
  readonly bufferLimitBytes: number;
}

/** DetectorConfig switches a detector and overrides its parameters by name. */
export interface DetectorConfig {
  readonly enabled: boolean;
  readonly params: Readonly<Record<string, number>>;
}

/** AlertsConfig says what pages, and where alerts go. */
export interface AlertsConfig {
  /** Events older than this teach the baselines but page nobody; null: no limit. */
  readonly maxAgeMs: number | null;
  /** How many alerts may page; null: as many as there are. */
  readonly budget: AlertBudget | null;
  readonly channels: Readonly<Record<string, ChannelConfig>>;
  /** The first route that matches decides; an alert that matches none is recorded and sent nowhere. */
  readonly routes: readonly Route[];
}

/** AlertBudget is how many alerts may page in each day or week. */
export interface AlertBudget {
  readonly count: number;
  readonly periodMs: number;
}

/** Route sends alerts that match every list it gives to its channels; an absent list matches all. */
export interface Route {
  readonly match: {
    readonly severity?: readonly Severity[];
    readonly owner?: readonly string[];
    readonly detector?: readonly string[];
  };
  readonly channels: readonly string[];
}

/** ChannelConfig is one place that alerts go to. */
export type ChannelConfig = WebhookChannelConfig | SlackChannelConfig | EmailChannelConfig;

/** WebhookChannelConfig is an endpoint that takes Standard Webhooks messages. */
export interface WebhookChannelConfig {
  readonly type: 'webhook';
  readonly url: string;
  /** One `whsec_...` secret or several, newest first: every message is signed with each, so that a secret can be changed without a gap. Empty: unsigned. */
  readonly secrets: readonly string[];
  /** Allow loopback, link-local and private addresses as a target. */
  readonly allowPrivateNetwork: boolean;
}

/** SlackChannelConfig is a Slack incoming webhook. */
export interface SlackChannelConfig {
  readonly type: 'slack';
  readonly url: string;
  readonly allowPrivateNetwork: boolean;
}

/** EmailChannelConfig is a mail server and who gets mail over it. */
export interface EmailChannelConfig {
  readonly type: 'email';
  readonly smtp: string;
  readonly from: string;
  readonly to: readonly string[];
}
