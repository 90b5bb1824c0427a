// Stands for the ssh2 library in the bundle.
export function Client() {
  throw new Error('skepd reaches its engine through a Unix socket only');
}
