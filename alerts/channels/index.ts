import type { ChannelConfig } from '../../config/index.ts';
import type { Channel, ChannelDeps } from './contract.ts';
import { createEmail } from './email.ts';
import { createSlack } from './slack.ts';
import { createWebhook } from './webhook.ts';

export type { Channel, ChannelDeps, Delivery, SendContext } from './contract.ts';

type Factory<C extends ChannelConfig> = (name: string, config: C, deps: ChannelDeps) => Channel;

/** CHANNEL_TYPES makes a channel of each type; a new type is its file and a line here. */
const CHANNEL_TYPES: { readonly [T in ChannelConfig['type']]: Factory<Extract<ChannelConfig, { type: T }>> } = {
  webhook: createWebhook,
  slack: createSlack,
  email: createEmail,
};

/** createChannel makes the channel that the configuration describes under `name`; throws when it cannot work as configured. */
export function createChannel(name: string, config: ChannelConfig, deps: ChannelDeps): Channel {
  const create = CHANNEL_TYPES[config.type] as Factory<ChannelConfig>;
  return create(name, config, deps);
}
