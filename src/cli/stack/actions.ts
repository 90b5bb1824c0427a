/**
 * What the `skep stack` commands do. Apart from their definition, which every start of `skep` needs.
 */
import { stringify } from 'yaml';
import { composeText } from './compose-text.js';
import { Deployment, type ResolveImage } from './deployment.js';
import { describePlan, leftoverLines } from './describe-plan.js';
import { makePlan } from './plan.js';
import { type InputOptions, readInput, stackName } from './project-input.js';
import { SwarmApi } from './swarm-api.js';

/** Of `skep stack deploy`. */
export interface DeployFlags extends InputOptions {
  readonly host: string;
  readonly prune: boolean;
  readonly detach: boolean;
  readonly diff: boolean;
  readonly quiet: boolean;
  readonly strict: boolean;
  readonly withRegistryAuth: boolean;
  readonly resolveImage: ResolveImage;
  readonly timeout: number;
}

/** Of `skep stack config`. */
export interface ConfigFlags extends InputOptions {
  readonly interpolate: boolean;
}

/** Brings a swarm to what the files say. @throws SkepError of a file, of the API, or when a service does not run in time */
export async function deploy(name: string | undefined, flags: DeployFlags): Promise<void> {
  const warn = (line: string) => console.error(line);
  const input = await readInput(flags, name);
  const namespace = stackName(name, input.file);
  if (!isFine(input.warnings, flags.strict)) return;
  const project = await input.makeProject();
  const api = new SwarmApi(flags.host);
  await api.checkManager();
  const plan = await makePlan(project, namespace, api);
  if (!isFine(plan.warnings, flags.strict)) return;
  if (flags.diff) {
    for (const line of describePlan(plan, flags.prune)) console.log(line);
    return;
  }
  const tell = flags.quiet ? () => undefined : (line: string) => console.log(line);
  const options = { ...flags, timeoutMs: flags.timeout };
  await new Deployment(plan, api, options, { tell, warn }).run();
  if (!flags.prune) for (const line of leftoverLines(plan, false)) warn(line.trim());
}

/** Prints warnings; with `--strict` any of them ends the command. */
function isFine(warnings: readonly string[], strict: boolean): boolean {
  for (const warning of warnings) console.error(warning);
  if (!strict || warnings.length === 0) return true;
  process.exitCode = 1;
  return false;
}

/** Prints the files as one. @throws SkepError of a file */
export async function printConfig(flags: ConfigFlags): Promise<void> {
  const keepVariables = !flags.interpolate;
  const input = await readInput({ ...flags, keepVariables }, undefined);
  for (const warning of input.warnings) console.error(warning);
  if (!keepVariables) await input.makeProject();
  process.stdout.write(stringify(composeText(input.file, keepVariables), { lineWidth: 0 }));
}
