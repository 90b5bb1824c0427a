/** Listens to a swarm's events while a scenario runs. */
import http from 'node:http';
import { waitFor } from '../testbed/commands.js';
import { dockerRequest } from '../testbed/http.js';

const EVENTS_TIMEOUT_MS = 10_000;
/** A config whose events end a part of the recording: all before it have come. */
const MARK = 'end-of-events';

interface SwarmEvent {
  readonly Type: string;
  readonly Action: string;
  readonly scope: string;
  readonly Actor: { readonly Attributes: Readonly<Record<string, string>> };
}

/** A recording under way. */
export class EventRecorder {
  private lines: string[] = [];
  private marks = 0;

  private constructor(
    private readonly socket: string,
    private readonly request: http.ClientRequest,
    response: http.IncomingMessage,
  ) {
    let rest = '';
    response.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      for (const part of parts) if (part.trim() !== '') this.take(JSON.parse(part) as SwarmEvent);
    });
    response.on('error', () => undefined); // It is cut off when the recording stops.
  }

  /** Begins to listen. */
  static async start(socket: string): Promise<EventRecorder> {
    const filters = encodeURIComponent(JSON.stringify({ scope: ['swarm'] }));
    return await new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: socket,
        path: `/v1.41/events?filters=${filters}`,
      });
      request.on('response', (response) => resolve(new EventRecorder(socket, request, response)));
      request.on('error', reject);
      request.end();
    });
  }

  /** Events since the last call, those that repeat the one before left out. */
  async sinceLast(): Promise<readonly string[]> {
    const seen = this.marks;
    const spec = { Name: MARK, Data: 'eA==' };
    await dockerRequest(this.socket, 'POST', '/v1.41/configs/create', spec);
    await dockerRequest(this.socket, 'DELETE', `/v1.41/configs/${MARK}`);
    await waitFor('the events', EVENTS_TIMEOUT_MS, async () =>
      this.marks > seen ? true : undefined,
    );
    const lines = this.lines.filter((line, index) => line !== this.lines[index - 1]);
    this.lines = [];
    return lines;
  }

  /** Ends it. */
  stop(): void {
    this.request.destroy();
  }

  private take(event: SwarmEvent): void {
    const { Type, Action, Actor, scope } = event;
    if (Actor.Attributes['name'] === MARK) {
      if (Action === 'remove') this.marks += 1;
      return;
    }
    const attributes = Object.entries(Actor.Attributes)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => ` ${key}=${value}`);
    this.lines.push(`${scope} ${Type} ${Action}${attributes.join('')}`);
  }
}
