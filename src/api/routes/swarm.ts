/** `/swarm` and below: init, join, leave, update, lock. */
import { clone, create } from '@bufbuild/protobuf';
import { ClusterSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { ClusterSpecSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { checkClusterSpec } from '../../manager/control/cluster-control.js';
import { goQuote } from '../convert/common.js';
import { mergeClusterSpec, swarmFields } from '../convert/cluster.js';
import { ApiError, badRequest, controlError } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { type ApiRequest, empty, json, type Reply } from '../http/request.js';
import { type Route, versionLess } from '../http/router.js';
import { alreadyInSwarm } from '../swarm-errors.js';
import type { InitRequest } from '../types.js';
import { control, type RouteContext } from './context.js';

const CLUSTER_NAME = 'default';

/** The routes. */
export function swarmRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/swarm', handler: () => inspect(context) },
    { method: 'POST', pattern: '/swarm/init', handler: (request) => init(context, request) },
    { method: 'POST', pattern: '/swarm/join', handler: (request) => join(context, request) },
    { method: 'POST', pattern: '/swarm/leave', handler: (request) => leave(context, request) },
    { method: 'POST', pattern: '/swarm/update', handler: (request) => update(context, request) },
    { method: 'GET', pattern: '/swarm/unlockkey', handler: () => unlockKey(context) },
    { method: 'POST', pattern: '/swarm/unlock', handler: (request) => unlock(context, request) },
  ];
}

function inspect(context: RouteContext): Reply {
  return json(swarmFields(control(context).getCluster()));
}

/** An address as far as the API checks it; the rest is the membership's business. */
function checkAddress(address: string, what: string): string {
  if (address === '')
    throw badRequest(`invalid ${what} ${goQuote(address)}: invalid empty address`);
  return address;
}

function availabilityOf(body: GoStruct): 'active' | 'pause' | 'drain' {
  const text = body.string('Availability', 'swarm.NodeAvailability').toLowerCase();
  switch (text) {
    case '':
    case 'active':
      return 'active';
    case 'pause':
    case 'drain':
      return text;
    default:
      throw new ApiError(500, `invalid Availability: ${goQuote(text)}`);
  }
}

async function init(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.InitRequest');
  const parsed = initRequestOf(body, request.version);
  const { state } = context.membership.status();
  if (state !== 'inactive' && !parsed.forceNewCluster) throw alreadyInSwarm();
  return json(await context.membership.init(parsed));
}

function initRequestOf(body: GoStruct, version: string): InitRequest {
  const before = (limit: string) => version !== '' && versionLess(version, limit);
  const spec = body.nested('Spec', 'swarm.Spec');
  const autoLock = body.bool('AutoLockManagers');
  // Wrong types and enums must be refused now, not when the cluster is already being made.
  mergeClusterSpec(spec, create(ClusterSpecSchema));
  const request: InitRequest = {
    listenAddr: checkAddress(body.string('ListenAddr'), 'ListenAddr'),
    advertiseAddr: body.string('AdvertiseAddr'),
    dataPathAddr: body.string('DataPathAddr'),
    dataPathPort: before('1.40') ? 0 : body.uint32('DataPathPort'),
    defaultAddrPool: before('1.39') ? [] : body.strings('DefaultAddrPool'),
    subnetSize: before('1.39') ? 0 : body.uint32('SubnetSize'),
    forceNewCluster: body.bool('ForceNewCluster'),
    autoLockManagers: autoLock,
    availability: availabilityOf(body),
    applySpec: (cluster) => {
      const copy = clone(ClusterSchema, cluster);
      copy.spec = mergeClusterSpec(spec, copy.spec ?? create(ClusterSpecSchema));
      if (autoLock && copy.spec.encryptionConfig)
        copy.spec.encryptionConfig.autoLockManagers = true;
      return copy;
    },
  };
  checkClusterName(spec);
  checkSettings(spec);
  return request;
}

/** What the cluster would refuse, before there is one. @throws ApiError with the engine's text */
function checkSettings(json: GoStruct): void {
  const spec = mergeClusterSpec(json, create(ClusterSpecSchema));
  if (spec.annotations !== undefined) spec.annotations.name = CLUSTER_NAME;
  try {
    checkClusterSpec(spec);
  } catch (cause) {
    const { message } = controlError(cause);
    throw new ApiError(500, `error updating cluster settings: ${message}`, { cause });
  }
}

function checkClusterName(spec: GoStruct): void {
  const name = spec.string('Name');
  if (name !== '' && name !== CLUSTER_NAME) throw badRequest('swarm spec must be named "default"');
}

async function join(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.JoinRequest');
  if (context.membership.status().state !== 'inactive') throw alreadyInSwarm();
  const listenAddr = checkAddress(body.string('ListenAddr'), 'ListenAddr');
  const remoteAddrs = body.strings('RemoteAddrs');
  if (remoteAddrs.length === 0) throw badRequest('at least 1 RemoteAddr is required to join');
  for (const address of remoteAddrs) checkAddress(address, 'remoteAddr');
  await context.membership.join({
    listenAddr,
    advertiseAddr: body.string('AdvertiseAddr'),
    dataPathAddr: body.string('DataPathAddr'),
    remoteAddrs,
    joinToken: body.string('JoinToken'),
    availability: availabilityOf(body),
  });
  return empty();
}

async function leave(context: RouteContext, request: ApiRequest): Promise<Reply> {
  await context.membership.leave({ force: request.flag('force') });
  return empty();
}

async function update(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.Spec');
  const version = request.objectVersion('swarm', true);
  const rotation = {
    workerJoinToken: request.strictBool('rotateWorkerToken', false) ?? false,
    managerJoinToken: request.strictBool('rotateManagerToken', false) ?? false,
    managerUnlockKey: request.strictBool('rotateManagerUnlockKey', false) ?? false,
  };
  const manager = control(context);
  checkClusterName(body);
  const spec = mergeClusterSpec(body, create(ClusterSpecSchema));
  if (spec.annotations !== undefined) spec.annotations.name = CLUSTER_NAME;
  await manager.updateCluster(version, spec, rotation);
  return empty();
}

async function unlockKey(context: RouteContext): Promise<Reply> {
  context.membership.manager();
  return json({ UnlockKey: await context.membership.unlockKey() });
}

async function unlock(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.UnlockRequest');
  await context.membership.unlock(body.string('UnlockKey'));
  return empty();
}
