/** The parts of the Docker API's objects that stacks are made of and compared by. */

/** Label of everything that belongs to a stack. */
export const NAMESPACE_LABEL = 'com.docker.stack.namespace';

/** Label of a service: its image as the compose file has it. */
export const IMAGE_LABEL = 'com.docker.stack.image';

/** Labels of an object. */
export type Labels = Readonly<Record<string, string>>;

/** A service's reference to a secret or config. */
export interface FileTarget {
  readonly Name: string;
  readonly UID: string;
  readonly GID: string;
  readonly Mode: number;
}

/** What a task is made of; keys that are only passed on are not listed. */
export interface TaskTemplate {
  readonly ContainerSpec: Readonly<Record<string, unknown>> & { readonly Image: string };
  readonly Networks?: readonly { readonly Target: string; readonly [key: string]: unknown }[];
  readonly Placement?: Readonly<Record<string, unknown>>;
  readonly ForceUpdate?: number;
  readonly [key: string]: unknown;
}

/** How many tasks a service has. */
export interface ServiceMode {
  readonly Replicated?: { readonly Replicas?: number };
  readonly Global?: object;
  readonly ReplicatedJob?: { readonly MaxConcurrent?: number; readonly TotalCompletions?: number };
  readonly GlobalJob?: object;
}

/** A service as it is created. */
export interface ServiceSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly TaskTemplate: TaskTemplate;
  readonly Mode: ServiceMode;
  readonly [key: string]: unknown;
}

/** A service as the API lists it. */
export interface SwarmService {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: ServiceSpec;
  readonly UpdateStatus?: { readonly State?: string; readonly Message?: string };
  readonly ServiceStatus?: {
    readonly RunningTasks: number;
    readonly DesiredTasks: number;
    readonly CompletedTasks: number;
  };
  readonly JobStatus?: { readonly JobIteration?: { readonly Index?: number } };
}

/** A task as the API lists it. */
export interface SwarmTask {
  readonly ID: string;
  readonly ServiceID: string;
  readonly Slot?: number;
  readonly NodeID?: string;
  readonly Spec: TaskTemplate;
  readonly DesiredState: string;
  readonly Status: { readonly State: string; readonly Err?: string; readonly Timestamp?: string };
  readonly JobIteration?: { readonly Index?: number };
}

/** A secret or config as it is created; the API never tells a secret's data. */
export interface ObjectSpec {
  readonly Name: string;
  readonly Labels: Labels;
  /** base64 */
  readonly Data?: string;
  readonly Driver?: { readonly Name: string; readonly Options?: Labels };
  readonly Templating?: { readonly Name: string };
}

/** A secret or config as the API lists it. */
export interface SwarmObject {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: ObjectSpec;
}

/** A network as it is created. */
export interface NetworkSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly Driver: string;
  readonly [key: string]: unknown;
}

/** A network as the API lists it. */
export interface SwarmNetwork {
  readonly Id: string;
  readonly Name: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Labels?: Labels | null;
}
