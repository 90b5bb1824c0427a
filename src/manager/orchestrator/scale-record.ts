/**
 * What was last decided about a service that is scaled by its load: an object of the store, so that
 * every manager tells it as an event, in the order of all other changes. There is one for each such
 * service, as long as the service is there.
 */
import { create } from '@bufbuild/protobuf';
import { type Resource, ResourceSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { WriteTransaction } from '../../store/types.js';

/** Kind of these objects among the resources of a store. */
const KIND = 'skep.autoscale';
const SERVICE_ID = 'service';
const SERVICE_NAME = 'name';

/** One decision. */
export interface ScaleRecord {
  readonly serviceId: string;
  readonly serviceName: string;
  /** As the event shows it: `replicas.old`, `replicas.new`, `dry-run`. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** Keeps a decision in the place of the last one about its service. */
export function writeScaleRecord(transaction: WriteTransaction, record: ScaleRecord): void {
  const id = recordId(record.serviceId);
  const { serviceId, serviceName, attributes } = record;
  const labels = { ...attributes, [SERVICE_ID]: serviceId, [SERVICE_NAME]: serviceName };
  const old = transaction.get('resource', id);
  const annotations = { name: id, labels };
  const resource = create(ResourceSchema, { id, kind: KIND, annotations });
  if (old === undefined) transaction.create('resource', resource);
  else
    transaction.update(
      'resource',
      old.meta === undefined ? resource : { ...resource, meta: old.meta },
    );
}

/** Forgets what was decided about a service that goes. */
export function removeScaleRecord(transaction: WriteTransaction, serviceId: string): void {
  const id = recordId(serviceId);
  if (transaction.get('resource', id) !== undefined) transaction.delete('resource', id);
}

/** The decision that a resource is; undefined for one of another kind. */
export function scaleRecordOf({ kind, annotations }: Resource): ScaleRecord | undefined {
  if (kind !== KIND) return undefined;
  const {
    [SERVICE_ID]: serviceId = '',
    [SERVICE_NAME]: serviceName = '',
    ...attributes
  } = annotations?.labels ?? {};
  return { serviceId, serviceName, attributes };
}

function recordId(serviceId: string): string {
  return `${KIND}/${serviceId}`;
}
