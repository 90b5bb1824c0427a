/**
 * Service specs both ways. The large spec is what a stock manager (20.10) answered for a service
 * with nearly every flag set.
 */
import { create, equals } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import t from 'tap';
import {
  serviceFields,
  serviceSpecFields,
  serviceSpecFromJson,
} from '../../../src/api/convert/service.js';
import { withDefaults } from '../../../src/api/convert/service-defaults.js';
import { parseJsonStream } from '../../../src/api/http/go-json.js';
import { GoStruct } from '../../../src/api/http/go-struct.js';
import { writeJson } from '../../../src/api/http/json-text.js';
import { ServiceSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ServiceSpec,
  ServiceSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';

const LARGE =
  '{"Name":"max","Labels":{"l":"1"},"TaskTemplate":{"ContainerSpec":{"Image":"bb:1","Labels":{"cl":"2"},"Command":["/bin/sleep"],"Args":["100"],"Hostname":"{{.Task.Name}}","Env":["A=b"],"Dir":"/tmp","User":"1:1","Groups":["5"],"Privileges":{"CredentialSpec":{"Config":"","File":"f","Registry":""},"SELinuxContext":null},"Init":true,"StopSignal":"TERM","TTY":true,"OpenStdin":true,"ReadOnly":true,"Mounts":[{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"NoCopy":true,"Labels":{"x":"y"},"DriverConfig":{"Name":"local","Options":{"o":"p"}}}},{"Type":"bind","Source":"/tmp","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rslave","NonRecursive":true}},{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":10485760,"Mode":493}}],"StopGracePeriod":3000000001,"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000,"Timeout":2000000000,"StartPeriod":4000000000,"Retries":3},"Hosts":["1.2.3.4 h"],"DNSConfig":{"Nameservers":["1.2.3.4"],"Search":["foo"],"Options":["ndots:1"]},"Secrets":[{"File":{"Name":"s","UID":"1","GID":"2","Mode":256},"SecretID":"si","SecretName":"sec1"}],"Configs":[{"File":{"Name":"/c","UID":"0","GID":"0","Mode":292},"ConfigID":"ci","ConfigName":"conf1"},{"Runtime":{},"ConfigID":"cr","ConfigName":"conf2"}],"Isolation":"default","Sysctls":{"net.core.somaxconn":"1"},"CapabilityAdd":["CAP_NET_ADMIN"],"CapabilityDrop":["CAP_CHOWN"],"Ulimits":[{"Name":"nofile","Hard":20,"Soft":10}]},"Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864,"Pids":10},"Reservations":{"NanoCPUs":100000000,"MemoryBytes":8388608,"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}},{"NamedResourceSpec":{"Kind":"card","Value":"a"}}]}},"RestartPolicy":{"Condition":"on-failure","Delay":1000000000,"MaxAttempts":2,"Window":9000000000},"Placement":{"Constraints":["node.role==manager"],"Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.x"}}],"MaxReplicas":3,"Platforms":[{"Architecture":"amd64","OS":"linux"}]},"Networks":[{"Target":"net","Aliases":["al"],"DriverOpts":{"a":"b"}}],"LogDriver":{"Name":"json-file","Options":{"max-size":"1m"}},"ForceUpdate":18446744073709551615,"Runtime":"container"},"Mode":{"Replicated":{"Replicas":0}},"UpdateConfig":{"Parallelism":2,"Delay":1000000000,"FailureAction":"rollback","Monitor":2000000000,"MaxFailureRatio":0.3,"Order":"start-first"},"RollbackConfig":{"Parallelism":1,"Delay":2000000000,"FailureAction":"pause","Monitor":5000000000,"MaxFailureRatio":0,"Order":"stop-first"},"EndpointSpec":{"Mode":"vip","Ports":[{"Name":"web","Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"},{"Protocol":"udp","TargetPort":53,"PublishedPort":53,"PublishMode":"host"}]}}';

function fromText(text: string): ServiceSpec {
  const json = GoStruct.root(parseJsonStream(text), 'swarm.ServiceSpec');
  return serviceSpecFromJson(json, () => 'random_name');
}

function toText(spec: ServiceSpec): string {
  return writeJson(serviceSpecFields(spec));
}

void t.test('a large spec comes back byte for byte', async (t) => {
  t.equal(toText(fromText(LARGE)), LARGE);
});

void t.test('what the least of specs becomes', async (t) => {
  const text = '{"TaskTemplate":{"ContainerSpec":{"Image":"i"}}}';
  t.equal(
    toText(fromText(text)),
    '{"Name":"random_name","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"i","Isolation":"default"},"ForceUpdate":0,"Runtime":"container"},"Mode":{"Replicated":{"Replicas":1}}}',
  );
  const service = create(ServiceSchema, { id: 'x', spec: fromText(text) });
  const shown = JSON.parse(writeJson(serviceFields(withDefaults(service)))) as object;
  t.match(shown, {
    Spec: {
      TaskTemplate: {
        ContainerSpec: { StopGracePeriod: 10e9 },
        RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 0 },
      },
      UpdateConfig: {
        Parallelism: 1,
        FailureAction: 'pause',
        Monitor: 5e9,
        MaxFailureRatio: 0,
        Order: 'stop-first',
      },
    },
    Endpoint: { Spec: {} },
  });
  t.notOk(service.spec?.update, 'the stored service is untouched');
});

void t.test('refusals', async (t) => {
  const inContainer = (part: string) => `{"TaskTemplate":{"ContainerSpec":{${part}}}}`;
  const beside = (part: string) => `{"TaskTemplate":{"ContainerSpec":{}},${part}}`;
  const cases: readonly (readonly [string, string])[] = [
    ['{}', 'mismatched Runtime and *Spec fields'],
    ['{"TaskTemplate":{"Runtime":"attachment"}}', 'unsupported runtime'],
    ['{"TaskTemplate":{"Runtime":"plugin"}}', 'mismatched Runtime and *Spec fields'],
    [inContainer('"Mounts":[{"Type":"x"}]'), 'invalid MountType: "x"'],
    [
      inContainer('"Mounts":[{"BindOptions":{"Propagation":"x"}}]'),
      'invalid MountPropagation: "x"',
    ],
    [
      inContainer('"Configs":[{"ConfigID":"x"}]'),
      'invalid Config: either File or Runtime should be set',
    ],
    [
      inContainer('"Privileges":{"CredentialSpec":{"File":"a","Config":"b"}}'),
      'invalid CredentialSpec: cannot specify both "config" and "file" credential specs',
    ],
    [beside('"Mode":{"Global":{},"Replicated":{}}'), 'must specify only one service mode'],
    [beside('"EndpointSpec":{"Mode":"x"}'), 'invalid resolution mode: "x"'],
    [beside('"UpdateConfig":{"FailureAction":"x"}'), 'unrecognized update failure action x'],
    [beside('"UpdateConfig":{"Order":"x"}'), 'unrecognized update order x'],
    [
      '{"TaskTemplate":{"ContainerSpec":{},"RestartPolicy":{"Condition":"x"}}}',
      'invalid RestartCondition: "x"',
    ],
  ];
  for (const [text, message] of cases) t.throws(() => fromText(text), { message, status: 400 });
});

void t.test('modes and endpoints', async (t) => {
  const mode = (text: string) =>
    (
      JSON.parse(toText(fromText(`{"TaskTemplate":{"ContainerSpec":{}},"Mode":${text}}`))) as {
        Mode: object;
      }
    ).Mode;
  t.same(mode('{"Global":{}}'), { Global: {} });
  t.same(mode('{"GlobalJob":{}}'), { GlobalJob: {} });
  t.same(mode('{"ReplicatedJob":{}}'), {
    ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 },
  });
  t.same(mode('{"ReplicatedJob":{"MaxConcurrent":3}}'), {
    ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 },
  });
  const ports = fromText(
    '{"TaskTemplate":{"ContainerSpec":{}},"EndpointSpec":{"Ports":[{"Protocol":"x","PublishMode":"y","TargetPort":1}]}}',
  );
  t.match(JSON.parse(toText(ports)), {
    EndpointSpec: { Mode: 'vip', Ports: [{ Protocol: 'tcp', PublishMode: 'ingress' }] },
  });
});

void t.test('any spec this room writes it reads back the same', async (t) => {
  const labels = fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }), {
    maxKeys: 3,
    noNullPrototype: false,
  });
  const nanos = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
  const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const spec = fc.record({
    Name: fc.string({ minLength: 1, unit: 'grapheme' }),
    Labels: labels,
    TaskTemplate: fc.record({
      ContainerSpec: fc.record({
        Image: fc.string(),
        Env: fc.array(fc.string()),
        Labels: labels,
        StopGracePeriod: nanos,
        Init: fc.option(fc.boolean()),
      }),
      ForceUpdate: uint64,
      RestartPolicy: fc.record({
        Condition: fc.constantFrom('none', 'on-failure', 'any'),
        Delay: nanos,
        MaxAttempts: uint64,
      }),
    }),
    Mode: fc.record({ Replicated: fc.record({ Replicas: uint64 }) }),
    UpdateConfig: fc.record({
      Parallelism: uint64,
      Delay: nanos,
      MaxFailureRatio: fc.float({ min: 0, max: 1, noNaN: true }),
    }),
  });
  fc.assert(
    fc.property(spec, (json) => {
      const first = fromText(writeJson(json));
      return equals(ServiceSpecSchema, fromText(toText(first)), first);
    }),
  );
  t.pass('holds');
});
