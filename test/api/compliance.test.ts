/**
 * The stock docker CLIs against a stock swarm and against ours: same words in, same output, same
 * messages, same exit codes. The stock swarm is a real engine with `docker swarm init`; ours is
 * the API over the real control and store.
 */
import t from 'tap';
import { canRunEngines, ENGINE_ADDRESS, IMAGE } from './support/private-engine.js';
import { comparable, installedClis, runCli, words } from './support/cli.js';
import { exchange, jsonRequest, parseAnswer } from './support/raw-http.js';
import { waitFor } from '../testbed/commands.js';
import { dockerRequest } from '../testbed/http.js';
import { type Sides, startSides } from './support/sides.js';

const BEFORE_INIT = `
swarm leave
swarm join-token worker
swarm update --autolock
swarm unlock-key
swarm ca
swarm init --advertise-addr 192.168.99.2 --availability nope
node ls
node inspect self
service ls
service create --name x ${IMAGE}
service inspect x
network create -d overlay x
secret ls
config ls
stack ls
`;

const AFTER_INIT = `
swarm init --advertise-addr 192.168.99.2
swarm join --token SWMTKN-1-a-b 192.168.99.9:2377
swarm leave
swarm join-token nope
swarm join-token worker
swarm update --task-history-limit 3
swarm update --dispatcher-heartbeat -1s
swarm update --cert-expiry 1m
swarm unlock-key
swarm unlock-key --rotate
swarm unlock
node inspect nope
node inspect self --format '{{.Spec.Role}} {{.Status.State}} {{.ManagerStatus.Leader}}'
node update --availability nope self
node update --role worker self
node update --role nope self
node update --label-add a=b self
node update --label-rm zzz self
node inspect self --format '{{json .Spec}}'
node rm self
node rm nope
node ls --filter nope=x
node ls --filter role=nope
node ls --filter membership=nope
node ls --filter role=manager -q
node ls --filter role=worker -q
node demote self
node promote nope
network create -d overlay --subnet 10.77.0.0/24 --attachable --label a=b net1
network create -d overlay net1
network create -d overlay --subnet 10.77.0.0/24 net2
network create -d overlay --subnet 1.2.3 net3
network create -d overlay --subnet 10.78.0.0/24 --gateway 10.79.0.1 net3
network create -d overlay --ingress net3
network create -d overlay host
network create -d nope x
network create -d overlay -- -bad-
network create local1
network inspect nope
network inspect net1 --format '{{.Name}} {{.Scope}} {{.Driver}} {{json .IPAM}} {{json .Labels}} {{.Attachable}}'
network ls --filter nope=x
network ls --filter name=net1 --format '{{.Name}} {{.Driver}} {{.Scope}}'
network ls --filter driver=overlay --format '{{.Name}}'
network ls --filter scope=swarm --format '{{.Name}}'
network ls --filter label=a --format '{{.Name}}'
network ls --filter type=custom --format '{{.Name}} {{.Scope}}'
network ls --filter type=nope
network rm nope
network rm ingress1
secret create sec1 -
config create conf1 -
secret create 'bad name' -
config create 'bad name' -
secret create sec1 -
config create conf1 -
secret inspect sec1
config inspect conf1
config inspect --pretty conf1
secret inspect nope
config inspect nope
secret ls
config ls
secret ls --filter nope=x
config ls --filter name=conf --format '{{.Name}}'
service create -d --name web --replicas 2 ${IMAGE} sleep 1000
service create -d --name web ${IMAGE}
service create -d --name -bad- ${IMAGE}
service create -d --name aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg ${IMAGE}
service create -d --name bad 'no such image'
service create -d --name bad --mode nope ${IMAGE}
service create -d --name bad --endpoint-mode nope ${IMAGE}
service create -d --name bad --restart-condition nope ${IMAGE}
service create -d --name bad --update-failure-action nope ${IMAGE}
service create -d --name bad --update-order nope ${IMAGE}
service create -d --name bad --restart-delay -1s ${IMAGE}
service create -d --name bad --update-max-failure-ratio 2 ${IMAGE}
service create -d --name bad --limit-cpu 0.0001 ${IMAGE}
service create -d --name bad --limit-memory 1m ${IMAGE}
service create -d --name bad --constraint nope ${IMAGE}
service create -d --name bad --network nope ${IMAGE}
service create -d --name bad --network local1 ${IMAGE}
service create -d --name bad --network bridge ${IMAGE}
service create -d --name bad --network ingress ${IMAGE}
service create -d --name bad --secret nope ${IMAGE}
service create -d --name bad --config nope ${IMAGE}
service create -d --name bad --mount type=nope,target=/x ${IMAGE}
service create -d --name bad --mount type=volume,target=/x --mount type=volume,target=/x ${IMAGE}
service create -d --name bad -p 80:80 --endpoint-mode dnsrr ${IMAGE}
service create -d --name bad -p 8080:80 -p 8080:81 ${IMAGE}
service create -d --name bad --health-interval 1us ${IMAGE}
service create -d --name bad --isolation nope ${IMAGE}
service create -d --name bad --secret source=sec1,target=a --secret source=sec1,target=a ${IMAGE}
service create -d --name bad --mode global --replicas 2 ${IMAGE}
service create -d --name bad --mode replicated-job --update-delay 1s ${IMAGE}
service create -d --name pub -p 8080:80 --replicas 0 ${IMAGE}
service create -d --name bad -p 8080:80 ${IMAGE}
service create -d --name bad -p mode=host,published=8080,target=80 ${IMAGE}
service create -d --name max --replicas 0 --label l=1 --container-label cl=2 -e A=b --hostname max-host --user 1:1 -w /tmp --stop-signal TERM --stop-grace-period 3s --init --read-only --tty --group 5 --mount type=volume,source=v,target=/v,volume-label=x=y,volume-opt=o=p,volume-driver=local --mount type=bind,source=/tmp,target=/b,bind-propagation=rslave,readonly --mount type=tmpfs,target=/t,tmpfs-size=10m,tmpfs-mode=755 --secret source=sec1,target=s,uid=1,gid=2,mode=0400 --config source=conf1,target=/c --network name=net1,alias=al --publish 8081:80 --publish published=53,target=53,protocol=udp,mode=host --constraint node.role==manager --placement-pref spread=node.labels.x --limit-cpu .5 --limit-memory 64m --limit-pids 10 --reserve-cpu .1 --reserve-memory 8m --generic-resource gpu=1 --restart-condition on-failure --restart-delay 1s --restart-max-attempts 2 --restart-window 9s --update-parallelism 2 --update-delay 1s --update-monitor 2s --update-failure-action rollback --update-max-failure-ratio .3 --update-order start-first --rollback-delay 2s --log-driver json-file --log-opt max-size=1m --health-cmd true --health-interval 1s --health-timeout 2s --health-retries 3 --health-start-period 4s --dns 1.2.3.4 --dns-search foo --dns-option ndots:1 --host h:1.2.3.4 --sysctl net.core.somaxconn=1 --cap-add NET_ADMIN --cap-drop CHOWN --ulimit nofile=10:20 --isolation default --endpoint-mode vip --replicas-max-per-node 3 --entrypoint /bin/sleep ${IMAGE} 100
service inspect max
service inspect --pretty max
service create -d --name dns --endpoint-mode dnsrr --replicas 0 --network net1 ${IMAGE}
service inspect dns
service create -d --name glob --mode global --constraint node.labels.none==1 -p 9000:90 ${IMAGE}
service inspect glob
service inspect --pretty glob
service create -d --name job --mode replicated-job --replicas 0 ${IMAGE} true
service inspect web --format '{{json .Spec}}'
service inspect nope
service inspect --pretty web
service update -d --image 'no such' web
service update -d --replicas 3 glob
service update -d --env-add A=c --label-add x=y --args 'sleep 500' max
service inspect max --format '{{json .Spec}} {{json .PreviousSpec}}'
service update -d --rollback max
service inspect max --format '{{json .Spec}}'
service update -d --rollback dns
service update -d --publish-add 8080:81 max
service update -d --network-add nope max
service update -d --constraint-add nope max
service update -d nope
service scale -d pub=0
service scale -d glob=2
service scale -d nope=2
service scale -d web=x
service ls --format '{{.Name}} {{.Mode}} {{.Image}} {{.Ports}}'
service ls --filter nope=x
service ls --filter mode=global --format '{{.Name}}'
service ls --filter name=ma --format '{{.Name}}'
service ls --filter label=l=1 --format '{{.Name}}'
service ps nope
service ps web --filter nope=x
service ps web --filter desired-state=nope
service ps dns
service logs nope
service logs dns
service logs --tail nope dns
secret rm sec1
config rm conf1
network rm net1
service rm nope
service rm web pub max dns glob job
secret rm sec1 nope
config rm conf1 nope
secret create bbb -
secret create big -
network rm net1 ingress1
stack ls
stack ps nope
stack services nope
swarm ca --rotate --cert-expiry 1m
`;

/** Lines that make objects and show them: enough for the second CLI. */
const SHOWS_OBJECTS =
  /^(?:swarm join-token w|node (?:ls$|inspect self)|network (?:create -d overlay --subnet 10.77|inspect net1|ls --filter scope)|(?:secret|config) (?:create \w+ -$|inspect \w+1$|ls$)|service (?:create -d --name (?:web|max|glob) -|inspect|ls --format|ps (?:nope|dns)|rm web))/;

/** Standard input of commands that read some. */
function inputOf(line: string): string {
  if (line.startsWith('secret create big')) return 'x'.repeat(512_000);
  return / create .* -$/.test(line) && !line.includes('bbb') ? 'data\n' : '';
}

/** Requests that no CLI sends: method, target, body. `ID` stands for the service `raw`. */
const RAW_REQUESTS: readonly (readonly [string, string, string?])[] = [
  ['GET', '/v1.99/services'],
  ['GET', '/v1.11/services'],
  ['GET', '/v1.20/services/nope'],
  ['GET', '/vabc/services'],
  ['PUT', '/services'],
  ['GET', '/swarm/nope'],
  ['GET', '/nodes/'],
  ['POST', '/swarm/init', ''],
  ['POST', '/swarm/init', '{'],
  ['POST', '/swarm/init', '[]'],
  ['POST', '/swarm/init', '{"ListenAddr":1}'],
  ['POST', '/swarm/join', '{}'],
  ['POST', '/swarm/update', '{}'],
  ['POST', '/swarm/update?version=1&rotateWorkerToken=x', '{}'],
  ['POST', '/swarm/update?version=1', '{"Name":"x"}'],
  ['POST', '/swarm/update?version=1', '{"CAConfig":{"ExternalCAs":[{"Protocol":"x"}]}}'],
  ['POST', '/swarm/unlock', ''],
  ['POST', '/swarm/unlock', '{"UnlockKey":"x"}'],
  ['GET', '/swarm/unlockkey'],
  ['POST', '/services/create', ''],
  ['POST', '/services/create', '{}'],
  ['POST', '/services/create', '{"TaskTemplate":{"ContainerSpec":{}}}'],
  ['POST', '/services/create', '{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"A B"}}}'],
  ['POST', '/services/create', '{"TaskTemplate":{"Runtime":"nope"}}'],
  ['POST', '/services/create', '{"TaskTemplate":{"Runtime":"attachment"}}'],
  [
    'POST',
    '/services/create',
    '{"Mode":{"Global":{},"Replicated":{}},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}',
  ],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i","Mounts":[{"Type":"x"}]}}}',
  ],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i","Privileges":{"CredentialSpec":{}}}}}',
  ],
  ['POST', '/services/create', '{"TaskTemplate":{"ContainerSpec":{"Image":"i","Configs":[{}]}}}'],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i"},"RestartPolicy":{"Condition":"x"}}}',
  ],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"UpdateConfig":{"Order":"x"}}',
  ],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i"}},"EndpointSpec":{"Mode":"x"}}',
  ],
  [
    'POST',
    '/services/create',
    '{"TaskTemplate":{"ContainerSpec":{"Image":"i"},"Networks":[{"Target":"nope"}]}}',
  ],
  ['POST', '/services/create', '{"TaskTemplate":{"ContainerSpec":{"Image":"i","Env":[1]}}}'],
  [
    'POST',
    '/services/create',
    '{"Name":"raw","Mode":{"Replicated":{"Replicas":0}},"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}',
  ],
  ['GET', '/services/raw'],
  ['GET', '/services/raw?insertDefaults=x'],
  ['GET', '/services/RAW'],
  ['GET', '/services?status=x'],
  ['GET', '/services?status=true'],
  ['GET', '/services?filters=x'],
  ['GET', '/services?filters={"name":1}'],
  ['GET', '/services?filters={"name":["ra"]}'],
  ['GET', '/services?filters={"runtime":["plugin"]}'],
  ['POST', '/services/raw/update', '{}'],
  ['POST', '/services/raw/update?version=x', '{}'],
  [
    'POST',
    '/services/raw/update?version=1',
    '{"Name":"raw","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}',
  ],
  [
    'POST',
    '/services/raw/update?version=1&rollback=x',
    '{"Name":"raw","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}',
  ],
  [
    'POST',
    '/services/raw/update?version=1&registryAuthFrom=previous-spec',
    '{"Name":"raw","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}',
  ],
  ['GET', '/services/raw/logs'],
  ['GET', '/services/raw/logs?stdout=1&tail=-1'],
  ['GET', '/services/raw/logs?stdout=1&since=x'],
  ['GET', '/tasks?filters={"desired-state":["x"]}'],
  ['GET', '/tasks?filters={"service":["nope"]}'],
  ['GET', '/tasks?filters={"node":["nope"]}'],
  ['GET', '/tasks/nope'],
  ['GET', '/tasks/nope/logs?stdout=1'],
  ['GET', '/nodes?filters={"role":["x"]}'],
  ['POST', '/nodes/nope/update?version=1', '{"Role":"worker","Availability":"active"}'],
  ['POST', '/nodes/nope/update?version=1', '{"Role":"x","Availability":"active"}'],
  ['POST', '/nodes/nope/update?version=1', '{"Role":"worker","Availability":"x"}'],
  ['POST', '/nodes/nope/update', '{}'],
  ['POST', '/secrets/create', '{"Name":"s"}'],
  ['POST', '/secrets/create', '{"Name":"s","Data":"!"}'],
  ['POST', '/secrets/create', '{"Name":"s","Data":"eA==","Driver":{"Name":""}}'],
  ['POST', '/v1.36/secrets/create', '{"Name":"s","Data":"eA==","Templating":{"Name":"x"}}'],
  ['POST', '/secrets/create', '{"Name":"s","Data":"eA=="}'],
  ['POST', '/secrets/s/update?version=1', '{"Name":"s"}'],
  ['POST', '/secrets/s/update?version=x', '{"Name":"s"}'],
  ['POST', '/configs/create', '{"Name":"c"}'],
  ['POST', '/configs/create', '{"Name":"c","Data":"eA=="}'],
  ['POST', '/configs/c/update?version=1', '{"Name":"c"}'],
  ['GET', '/secrets?filters={"names":["s"]}'],
  ['GET', '/configs?filters={"names":["s"]}'],
  ['DELETE', '/secrets/s'],
  ['DELETE', '/configs/c'],
  ['DELETE', '/secrets/s'],
  ['DELETE', '/services/raw'],
  ['DELETE', '/services/raw'],
  ['POST', '/networks/create', '{"Name":"","Driver":"overlay"}'],
  ['POST', '/networks/create', '{"Name":"none","Driver":"overlay"}'],
  ['POST', '/networks/create', '{"Name":"bridge","Driver":"overlay"}'],
  ['POST', '/networks/create', '{"Name":"rn","Driver":"overlay","IPAM":{"Config":[{}]}}'],
  [
    'POST',
    '/networks/create',
    '{"Name":"rn","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.9.0.0/24","Gateway":"x"}]}}',
  ],
  ['POST', '/networks/create', '{"Name":"rn","Driver":"overlay","Ingress":true,"Attachable":true}'],
  [
    'POST',
    '/networks/create',
    '{"Name":"rn","Driver":"overlay","Labels":{"com.docker.swarm.predefined":"true"}}',
  ],
  ['POST', '/networks/create', '{"Name":"rn","Driver":"overlay","CheckDuplicate":true}'],
  ['POST', '/networks/rn/connect', '{"Container":"nope"}'],
  ['GET', '/networks/rn?scope=swarm'],
  ['GET', '/networks/rn?scope=local'],
  ['GET', '/networks?filters={"type":["x"]}'],
  ['GET', '/networks?filters={"dangling":["x"]}'],
  ['DELETE', '/networks/rn'],
  ['DELETE', '/networks/rn'],
  ['GET', '/containers/nope/json'],
  ['POST', '/containers/create', '{"Image":"nope"}'],
  ['POST', '/containers/create', '{'],
];

/** Sends each request to both; the differences in status or body. */
async function compareRaw(sides: Sides): Promise<string> {
  const differences: string[] = [];
  for (const [method, target, body] of RAW_REQUESTS) {
    const ask = async (socket: string) => {
      const encoded = target.replaceAll(/[{}"[\]]/g, encodeURIComponent);
      const raw = await exchange(socket, jsonRequest(method, encoded, body));
      const { status, body: answer } = parseAnswer(raw);
      return comparable(`${status} ${answer}`);
    };
    const [theirs, ours] = await Promise.all([ask(sides.stock), ask(sides.ours)]);
    if (theirs !== ours) {
      differences.push(`${method} ${target} ${body}\nstock: ${theirs}\nours:  ${ours}`);
    }
    if (method === 'DELETE' && theirs.startsWith('20')) await untilGone(sides.stock, target);
    if (target === '/networks/create' && theirs.startsWith('201'))
      await untilAllocated(sides.stock);
  }
  return differences.join('\n');
}

/** A stock manager answers the creation of a network before its allocator has given it a driver and a subnet. */
async function untilAllocated(socket: string): Promise<void> {
  await waitFor('the stock swarm to have allocated its networks', 10_000, async () => {
    const { body } = await dockerRequest(socket, 'GET', '/networks?scope=swarm');
    const networks = body as readonly { Scope: string; Driver: string }[];
    return networks.every(({ Scope, Driver }) => Scope !== 'swarm' || Driver !== '')
      ? true
      : undefined;
  });
}

/**
 * A stock manager answers the removal of a network before its deallocator has taken it out of the
 * store: until then a second removal is accepted once more.
 */
async function untilGone(socket: string, target: string): Promise<void> {
  await waitFor(`${target} to be gone from the stock swarm`, 10_000, async () => {
    const { status } = parseAnswer(await exchange(socket, jsonRequest('GET', target)));
    return status === 404 ? true : undefined;
  });
}

/** Runs a line on both; the difference in readable form. */
async function compareLine(sides: Sides, cli: string, line: string): Promise<string> {
  const [theirs, ours] = await Promise.all(
    [sides.stock, sides.ours].map(async (socket) => {
      const { code, stdout, stderr } = await runCli(cli, socket, words(line), inputOf(line));
      return comparable(`exit ${code}\n${stdout}${stderr}`);
    }),
  );
  return theirs === ours ? '' : `$ docker ${line}\nstock: ${theirs}\nours:  ${ours}\n`;
}

/** Lines that change nothing may run beside their neighbours. */
const CHANGES_NOTHING = /--name bad| ls\b| inspect /;
const LINES_AT_ONCE = 4;

/** Runs each line on both; the differences in readable form. */
async function compare(sides: Sides, cli: string, lines: readonly string[]): Promise<string> {
  let differences = '';
  for (let start = 0; start < lines.length; ) {
    let end = start + 1;
    if (CHANGES_NOTHING.test(lines[start] ?? '')) {
      const limit = start + LINES_AT_ONCE;
      while (end < limit && CHANGES_NOTHING.test(lines[end] ?? '')) end += 1;
    }
    const group = lines.slice(start, end).map((line) => compareLine(sides, cli, line));
    differences += (await Promise.all(group)).join('');
    start = end;
  }
  return differences;
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}

// The whole file may take longer than tap allows by default on a busy machine.
t.setTimeout(300_000);

void t.test('the stock CLIs cannot tell the swarms apart', { timeout: 290_000 }, async (t) => {
  if (!(await canRunEngines())) return t.comment('needs root, dockerd and busybox');
  const sides = await startSides(t);
  for (const [index, cli] of (await installedClis()).entries()) {
    // Refusals come from the server, and the first CLI has seen them all.
    const wanted = (line: string) => index === 0 || SHOWS_OBJECTS.test(line);
    t.equal(await compare(sides, cli, linesOf(BEFORE_INIT).filter(wanted)), '', cli);
    for (const socket of [sides.stock, sides.ours]) {
      const args = ['swarm', 'init', '--advertise-addr', ENGINE_ADDRESS];
      const { code, stderr } = await runCli(cli, socket, args);
      t.equal(code, 0, stderr);
    }
    if (index === 0) t.equal(await compareRaw(sides), '', 'raw requests');
    t.equal(await compare(sides, cli, linesOf(AFTER_INIT).filter(wanted)), '', cli);
    for (const socket of [sides.stock, sides.ours]) {
      t.equal((await runCli(cli, socket, ['swarm', 'leave', '--force'])).code, 0);
      await runCli(cli, socket, ['network', 'rm', 'local1']);
    }
  }
});
