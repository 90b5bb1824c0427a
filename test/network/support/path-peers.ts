/** Peers for tests of paths between nodes. */

/** The node under test. */
export const ONE = {
  owner: 'one',
  nodeId: '10.0.0.2',
  tunnelAddress: '192.0.2.1',
  answers: true,
  encrypted: false,
};
/** Another one of ours. */
export const TWO = {
  owner: 'two',
  nodeId: '10.0.0.3',
  tunnelAddress: '192.0.2.2',
  answers: true,
  encrypted: false,
};
/** A stock engine, which answers nothing of ours. */
export const STOCK = {
  owner: '',
  nodeId: '10.0.0.4',
  tunnelAddress: '192.0.2.3',
  answers: false,
  encrypted: false,
};
