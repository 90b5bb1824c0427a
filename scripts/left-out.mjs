// Stands in the bundle for libraries that dockerode loads at once for what skepd never does.
export function Client() {
  throw new Error('skepd reaches its engine through a Unix socket only');
}
