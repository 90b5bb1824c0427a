/**
 * Names and labels of cluster objects: SwarmKit's rules and texts (controlapi/common.go,
 * secret.go), and Skep's rule that `skep.` keys are only those of the table.
 */
import { SkepError } from '../../model/errors.js';
import type { Annotations } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { checkLabels } from '../../model/labels/check.js';
import { type LabelObject } from '../../model/labels/definition.js';

const DNS_NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/;
const DNS_NAME_MAX = 63;
const SECRET_NAME = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?$/;
const SECRET_NAME_MAX = 64;

/** An InvalidArgument of the Control API. */
export function invalid(text: string): SkepError {
  return new SkepError('invalid_argument', text);
}

/** A FailedPrecondition of the Control API. */
export function precondition(text: string): SkepError {
  return new SkepError('failed_precondition', text);
}

/** Checks the name of a service or network, which becomes a DNS name. */
export function checkDnsName(annotations: Annotations | undefined): void {
  const name = annotations?.name ?? '';
  if (name === '') throw invalid('meta: name must be provided');
  // The length first: the pattern is only tried on short names.
  if (name.length > DNS_NAME_MAX) {
    const text = /^[a-zA-Z0-9\-_]+$/.test(name)
      ? 'name must be 63 characters or fewer'
      : 'name must be valid as a DNS name component';
    throw invalid(text);
  }
  if (!DNS_NAME.test(name)) throw invalid('name must be valid as a DNS name component');
}

/** Checks the name of a secret or config. */
export function checkSecretName(annotations: Annotations | undefined): void {
  const name = annotations?.name ?? '';
  if (name === '') throw invalid('name must be provided');
  if (name.length > SECRET_NAME_MAX || !SECRET_NAME.test(name)) {
    throw invalid(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, ' +
        'and the start and end character must be [a-zA-Z0-9]',
    );
  }
}

/** Refuses unknown `skep.` keys. */
export function checkSkepLabels(object: LabelObject, annotations: Annotations | undefined): void {
  checkLabels(object, annotations?.labels ?? {});
}
