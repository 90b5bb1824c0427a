/**
 * Whether a text is an image reference by the registry's grammar (distribution/reference):
 * `[domain/]path[:tag][@digest]`, normalised as the docker CLI does it.
 */
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const DOMAIN_PART = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const DOMAIN = new RegExp(
  `^(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`,
);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const IMAGE_ID = /^[0-9a-f]{64}$/;
const NAME_MAX = 255;
const REFERENCE_MAX = 1024;

/** Whether `text` names an image. A bare 64-digit id does not. */
export function isImageReference(text: string): boolean {
  if (text.length > REFERENCE_MAX || IMAGE_ID.test(text)) return false;
  const [beforeDigest = '', digest, ...more] = text.split('@');
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) return false;
  const colon = beforeDigest.lastIndexOf(':');
  const tagged = colon > beforeDigest.lastIndexOf('/');
  const name = tagged ? beforeDigest.slice(0, colon) : beforeDigest;
  if (tagged && !TAG.test(beforeDigest.slice(colon + 1))) return false;
  return isName(name);
}

function isName(name: string): boolean {
  if (name.length > NAME_MAX) return false;
  const [first = '', ...rest] = name.split('/');
  const hasDomain = rest.length > 0 && (/[.:[]/.test(first) || first === 'localhost');
  if (hasDomain && !DOMAIN.test(first)) return false;
  const path = hasDomain ? rest : [first, ...rest];
  return path.length > 0 && path.every((component) => COMPONENT.test(component));
}
