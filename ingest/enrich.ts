import type { LifecycleEvent, TokenEvent, UsageEvent } from '../core/index.ts';
import type { LifecycleRow, UsageRow } from '../store/index.ts';
import type { Geo } from './geo.ts';
import type { Lineages, Link } from './lineage.ts';
import type { Redactor } from './redact.ts';
import type { Endpoints, Templates } from './templates.ts';

/** Enricher turns events into rows: secrets replaced, path templated, place and lineage known. */
export interface Enricher {
  /**
   * prepare learns what all processes must agree on (endpoints, lineages) from a batch's events, before any of them is
   * enriched, and tells the endpoints of those that name a path. Throws what the shared state throws.
   */
  prepare(events: readonly TokenEvent[], now: number): Promise<Endpoints>;
  /** enrichUsage is synchronous and fast; `endpoint` is that of the event's path. */
  enrichUsage(event: UsageEvent, endpoint: string, batch: BatchFields): UsageRow;
  enrichLifecycle(event: LifecycleEvent, batch: BatchFields): LifecycleRow;
}

/** BatchFields are what a row has from its batch. */
export interface BatchFields {
  readonly receivedAt: number;
  /** The row's id when the source gave none. */
  readonly idFallback: string;
  /** The log format's name. */
  readonly source: string;
}

/** EnricherParts are what an enricher is made of. */
export interface EnricherParts {
  readonly redactor: Redactor;
  readonly templates: Templates;
  readonly geo: Pick<Geo, 'lookup'>;
  readonly lineages: Lineages;
}

/** createEnricher composes redaction, templating, geo and lineages. */
export function createEnricher({ redactor, templates, geo, lineages }: EnricherParts): Enricher {
  function attributesText(attributes: Readonly<Record<string, unknown>> | null): string {
    return attributes === null ? '' : JSON.stringify(redactor.attributes(attributes));
  }

  /** The key's name tells whether its values are secret: `{key: "client_secret", from, to}`. */
  function configText(config: LifecycleEvent['config']): string {
    if (config === null) return '';
    const { key, from, to, approved } = config;
    const before = redactor.attributes({ [key]: from })[key] ?? '';
    const after = redactor.attributes({ [key]: to })[key] ?? '';
    return JSON.stringify({ key: redactor.text(key), from: before, to: after, approved });
  }

  return {
    async prepare(events, now) {
      const paths = events.map((event) => (event.kind === 'usage' && event.endpoint === '' ? event.path : ''));
      const links: Link[] = [];
      for (const event of events)
        if (event.kind === 'lifecycle' && event.replaces !== '')
          links.push({ child: redactor.token(event.token), parent: redactor.token(event.replaces) });
      const [endpoints] = await Promise.all([templates.prepare(paths, now), lineages.prepare(links)]);
      return endpoints;
    },

    enrichUsage(event, endpoint, { receivedAt, idFallback, source }) {
      const token = redactor.token(event.token);
      const place = geo.lookup(event.ip);
      return {
        time: event.time,
        receivedAt,
        id: event.id === '' ? idFallback : redactor.token(event.id),
        token,
        lineage: lineages.of(token),
        owner: redactor.text(event.owner),
        endpoint: event.endpoint === '' ? endpoint : redactor.text(event.endpoint),
        method: event.method,
        status: event.status,
        ip: event.ip,
        country: place.country,
        asn: place.asn,
        networkKind: place.networkKind,
        latitude: place.latitude,
        longitude: place.longitude,
        accuracyKm: place.accuracyKm,
        userAgent: redactor.text(event.userAgent),
        bytes: event.bytes,
        durationMs: event.durationMs,
        requestId: redactor.token(event.requestId),
        attributes: attributesText(event.attributes),
        source,
      };
    },

    enrichLifecycle(event, { receivedAt, idFallback, source }) {
      const token = redactor.token(event.token);
      const issuedBy = redactor.token(event.issuedBy);
      const { country, asn, networkKind } = geo.lookup(event.ip);
      return {
        time: event.time,
        receivedAt,
        id: event.id === '' ? idFallback : redactor.token(event.id),
        action: event.action,
        token,
        lineage: lineages.of(token),
        owner: redactor.text(event.owner),
        replaces: redactor.token(event.replaces),
        issuedBy,
        issuerLineage: lineages.of(issuedBy),
        requestedAt: event.requestedAt,
        expiresAt: event.expiresAt,
        effectiveAt: event.effectiveAt,
        fingerprint: redactor.token(event.fingerprint),
        scopes: event.scopes.map(redactor.text),
        reason: redactor.text(event.reason),
        config: configText(event.config),
        ip: event.ip,
        country,
        asn,
        networkKind,
        userAgent: redactor.text(event.userAgent),
        requestId: redactor.token(event.requestId),
        attributes: attributesText(event.attributes),
        source,
      };
    },
  };
}
