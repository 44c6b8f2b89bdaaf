import { Counter, Gauge, Histogram, type Registry, type Severity } from '../core/index.ts';
import type { NotificationRecord } from './rows.ts';

/** AlertMetrics counts what alerting does. */
export interface AlertMetrics {
  opened(severity: Severity): void;
  /** heldBack counts findings that the alert budget kept from paging. */
  heldBack(count: number): void;
  /** bar says what surprise a detector's finding has to exceed to page now. */
  bar(detector: string, surprise: number): void;
  notified(record: NotificationRecord): void;
  retried(channel: string): void;
}

/** createAlertMetrics registers the counters of this room. */
export function createAlertMetrics(registry: Registry): AlertMetrics {
  const registers = [registry];
  const opened = new Counter({
    name: 'tokenwatch_alerts_opened_total',
    help: 'Alerts opened, by the severity that they were opened with.',
    labelNames: ['severity'],
    registers,
  });
  const heldBack = new Counter({
    name: 'tokenwatch_findings_held_back_total',
    help: 'Findings that the alert budget kept from paging.',
    registers,
  });
  const bar = new Gauge({
    name: 'tokenwatch_alert_bar',
    help: 'Surprise that a finding has to exceed to page within the alert budget, by detector.',
    labelNames: ['detector'],
    registers,
  });
  const notifications = new Counter({
    name: 'tokenwatch_notifications_total',
    help: 'Messages that were sent, or given up, by channel, reason and status.',
    labelNames: ['channel', 'reason', 'status'],
    registers,
  });
  const retries = new Counter({
    name: 'tokenwatch_notification_retries_total',
    help: 'Tries of a message that failed and will be repeated.',
    labelNames: ['channel'],
    registers,
  });
  const delay = new Histogram({
    name: 'tokenwatch_notification_delay_seconds',
    help: 'From the detection to the message that was sent about it.',
    labelNames: ['channel'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600],
    registers,
  });
  return {
    opened: (severity) => opened.inc({ severity }),
    heldBack: (count) => heldBack.inc(count),
    bar: (detector, surprise) => bar.set({ detector }, surprise),
    notified: ({ channel, reason, status, delayMs }) => {
      notifications.inc({ channel, reason, status });
      if (status === 'sent') delay.observe({ channel }, delayMs / 1000);
    },
    retried: (channel) => retries.inc({ channel }),
  };
}
