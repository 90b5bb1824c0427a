/**
 * Pinning a service's image to the digest that its registry has now, as the docker CLI does before it
 * creates or updates a service.
 */
import type { RegistryAuth } from '../../agent/registry-credentials.js';
import { SkepError } from '../../model/errors.js';
import type { ServiceSpec } from '../../stack/swarm-spec.js';
import type { SwarmApi } from './swarm-api.js';

/** An image's name with a tag, in its short form. */
export function withTag(image: string): string {
  const short = image.replace(/^(index\.)?docker\.io\/(library\/)?/, '');
  const last = short.slice(short.lastIndexOf('/') + 1);
  return last.includes(':') || last.includes('@') ? short : `${short}:latest`;
}

/** The service with its image's digest and platforms; a warning if the registry does not tell. */
export async function pinImage(
  spec: ServiceSpec,
  api: SwarmApi,
  auth: RegistryAuth | undefined,
  warn: (text: string) => void,
): Promise<ServiceSpec> {
  const image = withTag(spec.TaskTemplate.ContainerSpec.Image);
  try {
    const { Descriptor, Platforms } = await api.describeImage(image, auth);
    const pinned = image.includes('@') ? image : `${image}@${Descriptor.digest}`;
    const platforms = (Platforms ?? []).map(({ architecture = '', os = '' }) => ({
      // The variants of arm are not told apart.
      Architecture: architecture === 'arm' ? '' : architecture,
      OS: os,
    }));
    return withImage(spec, pinned, platforms.length === 0 ? {} : { Platforms: platforms });
  } catch (error) {
    warn(
      `image ${image} could not be accessed on a registry to record\nits digest. Each node will ` +
        `access ${image} independently,\npossibly leading to different nodes running different\n` +
        `versions of the image. (${SkepError.from(error).message})`,
    );
    return withImage(spec, image, {});
  }
}

/** The service with another image. */
export function withImage(
  spec: ServiceSpec,
  image: string,
  placement: Readonly<Record<string, unknown>>,
): ServiceSpec {
  const task = spec.TaskTemplate;
  return {
    ...spec,
    TaskTemplate: {
      ...task,
      ContainerSpec: { ...task.ContainerSpec, Image: image },
      Placement: { ...task.Placement, ...placement },
    },
  };
}
