/**
 * A program, run inside a host: keeps the event loop of the process whose inspector listens on
 * 127.0.0.1:9229 busy, and ends when that is over. Needs Node's WebSocket.
 *   node block-event-loop.js MILLISECONDS
 */
const INSPECTOR = 'http://127.0.0.1:9229/json/list';
const TRIES = 50;
const PAUSE_MS = 100;

const milliseconds = Number(process.argv[2]);

/** Address of the inspector, once it has been opened. */
async function inspectorUrl(): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await fetch(INSPECTOR);
      const [target] = (await answer.json()) as { webSocketDebuggerUrl: string }[];
      if (target !== undefined) return target.webSocketDebuggerUrl;
    } catch (error) {
      if (tries === TRIES) throw error;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, PAUSE_MS);
    });
  }
}

const socket = new WebSocket(await inspectorUrl());
socket.addEventListener('open', () => {
  const expression = `const end = performance.now() + ${milliseconds}; while (performance.now() < end);`;
  const params = { expression: `{ ${expression} }` };
  socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params }));
});
socket.addEventListener('message', () => process.exit(0));
socket.addEventListener('error', () => process.exit(1));
