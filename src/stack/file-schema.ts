/** The top level of a compose file: everything but the keys of services. */
import {
  type Decode,
  flag,
  isMapping,
  list,
  listOrOne,
  mapOf,
  pairs,
  record,
  text,
} from './decode.js';
import type { Place } from './place.js';
import { service } from './service-schema.js';

/** `external: true`, or the older `external: {name: x}`. */
const external: Decode<boolean | { readonly name: string }> = (value, place) => {
  if (!isMapping(value)) return flag(value, place);
  const { name } = record({ name: text })(value, place);
  return name === undefined ? true : { name };
};

/** Makes `external` a boolean and moves its name to where it belongs. */
function withName<T extends { readonly name?: string }>(
  read: Decode<T & { readonly external?: boolean | { readonly name: string } }>,
): Decode<T & { readonly external?: boolean }> {
  return (value, place) => {
    const { external, ...fields } = read(value ?? {}, place);
    if (external === undefined) return fields as unknown as T;
    if (typeof external === 'boolean') return { ...(fields as unknown as T), external };
    if (fields.name !== undefined)
      throw place.error('external.name and name conflict; only use name');
    place.warn('external.name is deprecated in favor of name');
    return { ...(fields as unknown as T), external: true, name: external.name };
  };
}

const NETWORK = record(
  {
    name: text,
    driver: text,
    driver_opts: pairs(''),
    attachable: flag,
    internal: flag,
    enable_ipv6: flag,
    external,
    labels: pairs(''),
    ipam: record(
      {
        driver: text,
        options: pairs(''),
        config: list(
          record(
            { subnet: text, ip_range: text, gateway: text },
            { aux_addresses: 'addresses cannot be set aside in a swarm' },
          ),
        ),
      },
      {},
    ),
  },
  { enable_ipv4: 'overlay networks always have IPv4' },
);

const VOLUME = record({
  name: text,
  driver: text,
  driver_opts: pairs(''),
  external,
  labels: pairs(''),
});

const OBJECT = {
  name: text,
  file: text,
  environment: text,
  content: text,
  external,
  labels: pairs(''),
  template_driver: text,
};

const SECRET = record({ ...OBJECT, driver: text, driver_opts: pairs('') });
const CONFIG = record(OBJECT);

const INCLUDE = record({
  path: listOrOne(text),
  project_directory: text,
  env_file: listOrOne(text),
});

/** One entry of `include` in the long form. */
export interface Include {
  readonly path: readonly string[];
  readonly project_directory?: string;
  readonly env_file?: readonly string[];
}

const include: Decode<Include> = (value, place: Place) => {
  if (!isMapping(value)) return { path: [text(value, place)] };
  const { path, ...rest } = INCLUDE(value, place);
  if (path === undefined || path.length === 0) throw place.error('path is required');
  return { path, ...rest };
};

/** A compose file in the long form. */
export const composeFile = record(
  {
    name: text,
    version: text,
    include: list(include),
    services: mapOf(service),
    networks: mapOf(withName(NETWORK)),
    volumes: mapOf(withName(VOLUME)),
    secrets: mapOf(withName(SECRET)),
    configs: mapOf(withName(CONFIG)),
  },
  { models: 'unsupported option, ignored' },
);

/** What {@link composeFile} reads. */
export type ComposeFile = ReturnType<typeof composeFile>;

/** A network of a stack. */
export type Network = NonNullable<ComposeFile['networks']>[string];

/** A volume of a stack. */
export type Volume = NonNullable<ComposeFile['volumes']>[string];

/** A secret or config of a stack; configs have no driver. */
export type FileObject = NonNullable<ComposeFile['secrets']>[string];
