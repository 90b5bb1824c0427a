/** Placement constraints: what parses and which nodes meet them. */
import t from 'tap';
import { nodeMeetsExpressions, parseConstraints } from '../../src/model/constraint.js';
import { NodeRole, NodeStatus_State } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeNode } from '../manager/simulation/objects.js';

const node = makeNode('abc', {
  role: NodeRole.MANAGER,
  spec: { annotations: { labels: { zone: 'East', Disk: 'ssd' } } },
  status: { state: NodeStatus_State.READY, addr: '10.1.2.3' },
  description: {
    hostname: 'host-1',
    platform: { os: 'linux', architecture: 'x86_64' },
    engine: { labels: { provider: 'x' } },
  },
});

const met = [
  'node.id==abc',
  'node.id != def',
  'NODE.HOSTNAME == HOST-1',
  'node.role==manager',
  'node.role!=worker',
  'node.platform.os==linux',
  'node.platform.arch==x86_64',
  'node.ip==10.1.2.3',
  'node.ip==10.1.0.0/16',
  'node.ip!=10.2.0.0/16',
  'node.labels.zone==east',
  'node.labels.Disk==ssd',
  'node.labels.missing!=x',
  'engine.labels.provider==x',
];

const unmet = [
  'node.id==ab',
  'node.platform.arch==amd64',
  'node.ip==10.1.2.4',
  'node.ip==nonsense',
  'node.ip!=nonsense',
  'node.labels.zone!=EAST',
  'node.labels.disk==ssd',
  'node.labels.missing==x',
  'node.labels.zone==e.*',
  'node.unknown==x',
  'node.unknown!=x',
];

void t.test('constraints a node meets and does not', async (t) => {
  for (const expression of met) t.ok(nodeMeetsExpressions([expression], node), expression);
  for (const expression of unmet) t.notOk(nodeMeetsExpressions([expression], node), expression);
  t.notOk(nodeMeetsExpressions(['node.id==abc', 'node.id==x'], node), 'all must be met');
});

void t.test('malformed constraints are refused in the words of SwarmKit', async (t) => {
  const refused: [string, string][] = [
    ['node.id=abc', 'constraint expected one operator from ==, !='],
    ['no de==abc', "key 'no de' is invalid"],
    ['==abc', "key '' is invalid"],
    ['node.id==', "value '' is invalid"],
    ['node.id==a,b', "value 'a,b' is invalid"],
  ];
  for (const [expression, message] of refused) {
    t.throws(() => parseConstraints([expression]), { code: 'invalid_argument', message });
    t.notOk(nodeMeetsExpressions([expression], node), 'and met by no node');
  }
});
