import type { Service } from '../../cli/service.ts';
import { until } from './processes.ts';

/** settled waits until nothing that a service has taken in waits to be judged, folded or sent. */
export async function settled(service: Pick<Service, 'queues'>): Promise<void> {
  await until(async () => (await service.queues.batches.size()) === 0);
  // Finding wakes folding, folding queues messages: quiet is when none of the queues has anything twice in a row.
  let quiet = 0;
  await until(async () => {
    const depths = await service.queues.depths();
    const busy = depths.some(({ state, jobs }) => ['waiting', 'active', 'delayed'].includes(state) && jobs > 0);
    quiet = busy ? 0 : quiet + 1;
    return quiet >= 2;
  });
}
