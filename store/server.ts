import { type ClickHouseClientConfigOptions, createClient } from '@clickhouse/client';
import {
  attempt,
  DEFAULT_DATABASE,
  type Engine,
  type EngineOptions,
  insertRows,
  quoted,
  requireVersion,
  selectRows,
  versionOf,
} from './engine.ts';

/** openServer connects to a ClickHouse server over HTTP. */
export async function openServer(options: EngineOptions, address: string): Promise<Engine> {
  const url = new URL(address);
  const database = options.database ?? (decodeURIComponent(url.pathname.slice(1)) || DEFAULT_DATABASE);
  // The database may not exist yet: the first statements go without naming it.
  url.pathname = '';
  const config: ClickHouseClientConfigOptions = {
    url,
    application: 'tokenwatch',
    request_timeout: 60_000,
    max_open_connections: 12,
    compression: { request: true, response: true },
    keep_alive: { enabled: true, idle_socket_ttl: 2_000 },
    // The client's own logger writes whole error objects; ours says it once, without secrets.
    log: { level: 127 },
  };
  const bootstrap = createClient(config);
  try {
    await requireVersion(await versionOf(bootstrap));
    await attempt(
      bootstrap.command({ query: `CREATE DATABASE IF NOT EXISTS ${quoted(database)}` }),
      'creating the database',
    ).catch(async (error) => {
      // A user without CREATE may still own a database that is there.
      const found = await selectRows(bootstrap, 'SELECT 1 AS one FROM system.databases WHERE name = {name:String}', {
        name: database,
      });
      if (found.length === 0) throw error;
    });
  } finally {
    await bootstrap.close();
  }
  const client = createClient({ ...config, database });
  const analystClient = createClient({ ...config, database });
  return {
    embedded: false,
    // Over HTTP settings end with their request: one client serves them all.
    analystConnection: async () => ({ client: analystClient, abortable: true, close: async () => {} }),
    command: (sql, doing) => attempt(client.command({ query: sql }), doing).then(() => undefined),
    rows: (sql, params, doing) => attempt(selectRows(client, sql, params), doing),
    insert: (table, columns, rows, token) =>
      attempt(insertRows(client, table, columns, rows, token), `storing rows of ${table}`),
    close: async () => {
      await Promise.all([client.close(), analystClient.close()]);
    },
  };
}
