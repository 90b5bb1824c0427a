/**
 * Reserved addresses of a simulated cluster, and the services that ask for them: each has two virtual
 * addresses and two lists of task addresses of its own, between which it changes.
 */
import { formatAddress, type AddressRange } from '../../../src/model/fixed-addresses.js';
import type { SeededRandom } from '../../support/simulated-environment.js';

/** How many services may ask for addresses. */
export const FIXED_SERVICES_MAX = 5;

const FIRST = 0x0a00_0180; // 10.0.1.128
const BLOCK = 24;
const VIPS = 2;
/** Addresses in one list: no service has more replicas. */
const LIST = 11;

/** The network spec of `net`: reserved addresses of the first subnet that the pools give. */
export function reservingNetwork() {
  return {
    annotations: { name: 'net', labels: { 'skep.reserved': '10.0.1.128/25' } },
    ipam: { configs: [{ subnet: '10.0.1.0/24' }] },
  };
}

/** Id of the nth service that asks, the first being 1. */
export function fixedServiceId(n: number): string {
  return `f${n}`;
}

/** Whether a service is one of those that may ask. */
export function isFixedService(id: string): boolean {
  return id.startsWith('f');
}

/** The two virtual addresses of such a service. */
export function vipsOf(id: string): readonly number[] {
  return [0, 1].map((index) => firstOf(id) + index);
}

/** Its two lists. */
export function listsOf(id: string): readonly AddressRange[] {
  return [0, 1].map((index) => {
    const first = firstOf(id) + VIPS + index * LIST;
    return { first, last: first + LIST - 1 };
  });
}

/** Labels with some of its addresses, or none. */
export function fixedLabels(id: string, random: SeededRandom): Record<string, string> {
  const vip = vipsOf(id)[random.integer(0, 2)];
  const list = listsOf(id)[random.integer(0, 2)];
  return {
    ...(vip === undefined ? {} : { 'skep.vip.net': formatAddress(vip) }),
    ...(list === undefined
      ? {}
      : { 'skep.addresses.net': `${formatAddress(list.first)}-${formatAddress(list.last)}` }),
  };
}

function firstOf(id: string): number {
  return FIRST + (Number(id.slice(1)) - 1) * BLOCK;
}
