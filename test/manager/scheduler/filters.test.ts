/** What a stock engine cannot do is not scheduled there. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { explain, admits, admitsStatically } from '../../../src/manager/scheduler/filters.js';
import { NodeInfo } from '../../../src/manager/scheduler/node-info.js';
import { TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { AGENT_PLUGIN } from '../../../src/model/agent-kind.js';
import { AGENT_VERSION_LABEL } from '../../../src/model/labels/keys.js';
import { makeNode } from '../simulation/objects.js';

function onNetwork(options: Record<string, string>) {
  const spec = { driverConfig: { name: 'overlay', options } };
  return create(TaskSchema, { id: 't', networks: [{ network: { id: 'n', spec } }] });
}

void t.test('stock engines take no task of an encrypted network', async (t) => {
  const stock = new NodeInfo(makeNode('stock'));
  const engine = { labels: { [AGENT_VERSION_LABEL]: '1' }, plugins: [AGENT_PLUGIN] };
  const ours = new NodeInfo(makeNode('ours', { description: { engine } }));
  const encrypted = onNetwork({ encrypted: '' });
  t.notOk(admits(stock, encrypted));
  t.notOk(admitsStatically(stock.node, encrypted));
  t.ok(admits(ours, encrypted));
  t.ok(admitsStatically(ours.node, encrypted));
  t.ok(admits(stock, onNetwork({})));
  t.equal(
    explain([stock], encrypted),
    'encrypted network not supported by the stock engine on 1 node',
  );
});

void t.test('stock engines take no task with settings they would not see', async (t) => {
  const stock = new NodeInfo(makeNode('stock'));
  const engine = { labels: { [AGENT_VERSION_LABEL]: '1' }, plugins: [AGENT_PLUGIN] };
  const ours = new NodeInfo(makeNode('ours', { description: { engine } }));
  const labels = { 'skep.container.privileged': 'true' };
  const task = create(TaskSchema, { id: 't', serviceAnnotations: { labels } });
  t.notOk(admits(stock, task));
  t.notOk(admitsStatically(stock.node, task));
  t.ok(admits(ours, task));
  t.equal(explain([stock], task), 'skep.container labels need skepd on 1 node');
  const kept = create(TaskSchema, {
    id: 't',
    serviceAnnotations: { labels: { 'skep.container.engine_socket': 'true' } },
  });
  t.ok(admits(stock, kept));
});
