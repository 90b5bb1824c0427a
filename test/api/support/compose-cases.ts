/**
 * Keys of compose files, as the stock CLI and a swarm take them. A case is YAML of one service (or of
 * the top level) and what must come of it.
 */
import { IMAGE } from './private-engine.js';

/** A key that must arrive in the service. */
export interface HonouredCase {
  /** Name of the service: letters and digits. */
  readonly name: string;
  /** Keys of the service, a line each. */
  readonly yaml: string;
  /** Place in the service's spec, and the value there. */
  readonly at: string;
  readonly value: unknown;
}

function honoured(name: string, yaml: string, at: string, value: unknown): HonouredCase {
  return { name, yaml, at, value };
}

const CONTAINER = 'TaskTemplate.ContainerSpec';
const deploy = (yaml: string): string => `deploy: {replicas: 0, ${yaml}}`;

/** Honoured keys of services. */
export const HONOURED: readonly HonouredCase[] = [
  honoured('command', 'command: echo "a b"', `${CONTAINER}.Args`, ['echo', 'a b']),
  honoured('commandlist', 'command: [echo, a b]', `${CONTAINER}.Args`, ['echo', 'a b']),
  honoured('entrypoint', 'entrypoint: /bin/sh -c', `${CONTAINER}.Command`, ['/bin/sh', '-c']),
  honoured('environment', 'environment: {B: "2", A: 1}', `${CONTAINER}.Env`, ['A=1', 'B=2']),
  honoured('environmentlist', 'environment: [X=y]', `${CONTAINER}.Env`, ['X=y']),
  honoured('envfile', 'env_file: ./vars.env', `${CONTAINER}.Env`, ['FROM_FILE=yes']),
  honoured('labels', 'labels: {a: b}', `${CONTAINER}.Labels.a`, 'b'),
  honoured('hostname', 'hostname: "{{.Task.Name}}"', `${CONTAINER}.Hostname`, '{{.Task.Name}}'),
  honoured('extrahosts', 'extra_hosts: ["h:1.2.3.4"]', `${CONTAINER}.Hosts`, ['1.2.3.4 h']),
  honoured('dns', 'dns: 9.9.9.9', `${CONTAINER}.DNSConfig.Nameservers`, ['9.9.9.9']),
  honoured('dnssearch', 'dns_search: [a.example]', `${CONTAINER}.DNSConfig.Search`, ['a.example']),
  honoured('user', 'user: "1000:1000"', `${CONTAINER}.User`, '1000:1000'),
  honoured('workingdir', 'working_dir: /tmp', `${CONTAINER}.Dir`, '/tmp'),
  honoured('stopsignal', 'stop_signal: SIGINT', `${CONTAINER}.StopSignal`, 'SIGINT'),
  honoured('stopgrace', 'stop_grace_period: 1m30s', `${CONTAINER}.StopGracePeriod`, 90e9),
  honoured('stdin', 'stdin_open: true', `${CONTAINER}.OpenStdin`, true),
  honoured('tty', 'tty: true', `${CONTAINER}.TTY`, true),
  honoured('readonly', 'read_only: true', `${CONTAINER}.ReadOnly`, true),
  honoured('init', 'init: true', `${CONTAINER}.Init`, true),
  honoured('isolation', 'isolation: default', `${CONTAINER}.Isolation`, 'default'),
  honoured('sysctls', 'sysctls: {net.core.somaxconn: "5"}', `${CONTAINER}.Sysctls`, {
    'net.core.somaxconn': '5',
  }),
  honoured('ulimits', 'ulimits: {nofile: {soft: 5, hard: 9}}', `${CONTAINER}.Ulimits`, [
    { Name: 'nofile', Hard: 9, Soft: 5 },
  ]),
  honoured('capadd', 'cap_add: [NET_ADMIN]', `${CONTAINER}.CapabilityAdd`, ['CAP_NET_ADMIN']),
  honoured('capdrop', 'cap_drop: [ALL]', `${CONTAINER}.CapabilityDrop`, ['ALL']),
  honoured('health', 'healthcheck: {test: "true", retries: 2}', `${CONTAINER}.Healthcheck`, {
    Test: ['CMD-SHELL', 'true'],
    Retries: 2,
  }),
  honoured('healthoff', 'healthcheck: {disable: true}', `${CONTAINER}.Healthcheck.Test`, ['NONE']),
  honoured(
    'healthtimes',
    'healthcheck: {test: ["CMD", "true"], interval: 2s, timeout: 1s, start_period: 3s}',
    `${CONTAINER}.Healthcheck.StartPeriod`,
    3e9,
  ),
  honoured(
    'logging',
    'logging: {driver: json-file, options: {max-size: 1m}}',
    'TaskTemplate.LogDriver',
    {
      Name: 'json-file',
      Options: { 'max-size': '1m' },
    },
  ),
  honoured('volume', 'volumes: ["data:/data:ro"]', `${CONTAINER}.Mounts.0.ReadOnly`, true),
  honoured('volumename', 'volumes: ["named:/data"]', `${CONTAINER}.Mounts.0.Source`, 'other'),
  honoured(
    'volumeexternal',
    'volumes: ["outside:/data"]',
    `${CONTAINER}.Mounts.0.Source`,
    'outside',
  ),
  honoured(
    'volumedriver',
    'volumes: ["driven:/data"]',
    `${CONTAINER}.Mounts.0.VolumeOptions.DriverConfig`,
    {
      Name: 'local',
      Options: { type: 'tmpfs' },
    },
  ),
  honoured(
    'volumelong',
    'volumes: [{type: volume, source: data, target: /d, volume: {nocopy: true}}]',
    `${CONTAINER}.Mounts.0.VolumeOptions.NoCopy`,
    true,
  ),
  honoured('volumeanonymous', 'volumes: [/data]', `${CONTAINER}.Mounts.0.Target`, '/data'),
  honoured(
    'bind',
    'volumes: ["/tmp:/t:rslave"]',
    `${CONTAINER}.Mounts.0.BindOptions.Propagation`,
    'rslave',
  ),
  honoured(
    'bindlong',
    'volumes: [{type: bind, source: /tmp, target: /t, bind: {propagation: private}}]',
    `${CONTAINER}.Mounts.0.Type`,
    'bind',
  ),
  honoured(
    'tmpfs',
    'volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1024}}]',
    `${CONTAINER}.Mounts.0.TmpfsOptions.SizeBytes`,
    1024,
  ),
  honoured('secret', 'secrets: [key]', `${CONTAINER}.Secrets.0.File`, {
    ...{ Name: 'key', UID: '0', GID: '0', Mode: 292 },
  }),
  honoured(
    'secretlong',
    'secrets: [{source: key, target: k, uid: "1", gid: "2", mode: 0400}]',
    `${CONTAINER}.Secrets.0.File`,
    {
      ...{ Name: 'k', UID: '1', GID: '2', Mode: 256 },
    },
  ),
  honoured('config', 'configs: [conf]', `${CONTAINER}.Configs.0.File`, {
    ...{ Name: 'conf', UID: '0', GID: '0', Mode: 292 },
  }),
  honoured(
    'configlong',
    'configs: [{source: conf, target: /etc/c, mode: 0440}]',
    `${CONTAINER}.Configs.0.File.Name`,
    '/etc/c',
  ),
  honoured('ports', 'ports: ["8001:80"]', 'EndpointSpec.Ports.0.PublishedPort', 8001),
  honoured('portsudp', 'ports: ["8002:53/udp"]', 'EndpointSpec.Ports.0.Protocol', 'udp'),
  honoured(
    'portshost',
    'ports: [{target: 80, published: 8003, mode: host}]',
    'EndpointSpec.Ports.0.PublishMode',
    'host',
  ),
  honoured('portrange', 'ports: ["8010-8012:80-82"]', 'EndpointSpec.Ports.2.PublishedPort', 8012),
  honoured('networks', 'networks: {net: {aliases: [nick]}}', 'TaskTemplate.Networks.0.Aliases', [
    'nick',
    'networks',
  ]),
  honoured('defaultnetwork', '', 'TaskTemplate.Networks.0.Aliases', ['defaultnetwork']),
  honoured('restart', 'restart: on-failure:3', 'TaskTemplate.RestartPolicy', {
    Condition: 'on-failure',
    MaxAttempts: 3,
  }),
  honoured('restartalways', 'restart: always', 'TaskTemplate.RestartPolicy.Condition', 'any'),
  honoured('replicas', deploy('mode: replicated'), 'Mode.Replicated.Replicas', 0),
  honoured('deploylabels', deploy('labels: {l: m}'), 'Labels.l', 'm'),
  honoured(
    'update',
    deploy(
      'update_config: {parallelism: 2, delay: 1s, failure_action: rollback, monitor: 2s, max_failure_ratio: 0.5, order: start-first}',
    ),
    'UpdateConfig',
    {
      ...{ Parallelism: 2, Delay: 1e9, FailureAction: 'rollback', Monitor: 2e9 },
      ...{ MaxFailureRatio: 0.5, Order: 'start-first' },
    },
  ),
  honoured('updatedefault', deploy('update_config: {delay: 1s}'), 'UpdateConfig.Parallelism', 1),
  honoured(
    'rollback',
    deploy('rollback_config: {parallelism: 0, order: stop-first}'),
    'RollbackConfig.Parallelism',
    0,
  ),
  honoured(
    'limits',
    deploy('resources: {limits: {cpus: "0.5", memory: 50M, pids: 9}}'),
    'TaskTemplate.Resources.Limits',
    {
      ...{ NanoCPUs: 5e8, MemoryBytes: 52428800, Pids: 9 },
    },
  ),
  honoured(
    'reservations',
    deploy('resources: {reservations: {cpus: "0.1", memory: 10M}}'),
    'TaskTemplate.Resources.Reservations.MemoryBytes',
    10485760,
  ),
  honoured(
    'generic',
    deploy(
      'resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}}',
    ),
    'TaskTemplate.Resources.Reservations.GenericResources.0.DiscreteResourceSpec.Value',
    2,
  ),
  honoured(
    'restartpolicy',
    deploy('restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}'),
    'TaskTemplate.RestartPolicy',
    {
      ...{ Condition: 'on-failure', Delay: 5e9, MaxAttempts: 3, Window: 120e9 },
    },
  ),
  honoured(
    'constraints',
    deploy('placement: {constraints: ["node.role==manager"]}'),
    'TaskTemplate.Placement.Constraints',
    ['node.role==manager'],
  ),
  honoured(
    'preferences',
    deploy('placement: {preferences: [{spread: node.labels.dc}]}'),
    'TaskTemplate.Placement.Preferences.0.Spread.SpreadDescriptor',
    'node.labels.dc',
  ),
  honoured(
    'maxreplicas',
    deploy('placement: {max_replicas_per_node: 2}'),
    'TaskTemplate.Placement.MaxReplicas',
    2,
  ),
  honoured('dnsrr', deploy('endpoint_mode: dnsrr'), 'EndpointSpec.Mode', 'dnsrr'),
  honoured('vip', deploy('endpoint_mode: vip'), 'EndpointSpec.Mode', 'vip'),
  honoured(
    'interpolation',
    'hostname: ${UNSET_HERE:-fallback}',
    `${CONTAINER}.Hostname`,
    'fallback',
  ),
  honoured('dollar', 'environment: {A: "$$b"}', `${CONTAINER}.Env`, ['A=$b']),
  honoured('extension', 'x-own: {anything: 1}', `${CONTAINER}.Image`, IMAGE),
  honoured('namespace', '', `${CONTAINER}.Labels`, { 'com.docker.stack.namespace': 'keys' }),
  honoured('imagelabel', '', 'Labels', {
    'com.docker.stack.image': IMAGE,
    'com.docker.stack.namespace': 'keys',
  }),
];

/** The rest of the file that {@link HONOURED} needs. */
export const TOP_LEVEL = `
x-top: {anything: 1}
networks:
  net:
    driver_opts: {a: b}
    labels: {kind: own}
    attachable: true
    ipam: {config: [{subnet: 10.77.0.0/24}]}
volumes:
  data:
  named: {name: other}
  outside: {external: true}
  driven: {driver: local, driver_opts: {type: tmpfs}}
secrets:
  key: {file: ./secret.txt, labels: {s: l}}
configs:
  conf: {file: ./config.txt, name: conf-7, template_driver: golang}
`;

/** Keys that the CLI ignores with a warning. */
export const IGNORED: Readonly<Record<string, string>> = {
  build: '.',
  cgroup_parent: '/x',
  devices: '["/dev/null:/dev/null"]',
  domainname: 'example',
  external_links: '[x]',
  ipc: 'host',
  links: '[x]',
  mac_address: '"02:42:ac:11:00:02"',
  network_mode: 'host',
  pid: 'host',
  privileged: 'true',
  security_opt: '["no-new-privileges"]',
  shm_size: '64M',
  userns_mode: 'host',
};

/** Keys that the CLI ignores without a word. */
export const SILENT: Readonly<Record<string, string>> = {
  depends_on: '[other]',
  tmpfs: '/run',
};

/** Keys that it ignores as deprecated, and its words. */
export const DEPRECATED: Readonly<Record<string, readonly [string, string]>> = {
  container_name: ['x', 'Setting the container name is not supported.'],
  expose: ['["80"]', 'Exposing ports is unnecessary'],
};

/** Files that are refused: the whole text, and the words. */
export const REFUSED: readonly (readonly [string, RegExp])[] = [
  ...(['extends: other', 'cpu_quota: 5', 'cpu_shares: 5', 'cpuset: "0"'] as const).map(forbidden),
  ...(['mem_limit: 5', 'memswap_limit: 5', 'volume_driver: x', 'volumes_from: [x]'] as const).map(
    forbidden,
  ),
  [service('nonsense: 1'), /Additional property nonsense is not allowed/],
  [service('ports: ["a:b"]'), /ports|port/i],
  [service('deploy: {mode: sometimes}'), /unknown mode|Unknown mode/i],
  [service('deploy: {mode: global, replicas: 2}'), /replicas can only be used with replicated/],
  [service('networks: [nowhere]'), /undefined network "nowhere"/],
  [service('volumes: ["nowhere:/x"]'), /undefined volume "nowhere"/],
  [service('secrets: [nowhere]'), /undefined secret "nowhere"/],
  [service('configs: [nowhere]'), /undefined config "nowhere"/],
  [service('healthcheck: {disable: true, test: "true"}'), /test and disable can't be set/],
  [service('hostname: ${UNSET_HERE:?must be set}'), /must be set/],
  ['version: "2.1"\nservices: {a: {image: x}}', /unsupported Compose file version: 2\.1/],
  ['version: "3.99"\nservices: {a: {image: x}}', /unsupported Compose file version: 3\.99/],
  ['version: "3.9"\nservices: {a: {command: x}}', /image reference must be provided/],
  [
    'version: "3.9"\nservices: {a: {image: x, networks: [own]}}\nnetworks: {own: {external: true}}',
    /network "own" is declared as external, but could not be found/,
  ],
  [
    'version: "3.9"\nservices: {a: {image: x, secrets: [own]}}\nsecrets: {own: {external: true}}',
    /secret not found: own/,
  ],
  [service('deploy: {placement: {constraints: ["nonsense"]}}'), /constraint expected one operator/],
  [service('deploy: {resources: {limits: {memory: 1K}}}'), /invalid memory value/],
  [service('user: "{{.Nope}}"\n    hostname: "{{.Nope}}"'), /expanding hostname failed: .*Nope/],
];

function service(keys: string): string {
  return `version: "3.9"\nservices:\n  a:\n    image: ${IMAGE}\n    ${keys}\n`;
}

function forbidden(keys: string): readonly [string, RegExp] {
  const key = keys.slice(0, keys.indexOf(':'));
  return [service(keys), new RegExp(`unsupported options:[\\s\\S]*${key}`)];
}
