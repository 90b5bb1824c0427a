/**
 * Makes outcomes of two swarms comparable: what each draws for itself (ids, times, tokens, addresses)
 * becomes a name that tells only which of them are the same within a scenario.
 */

/** How a side calls its hosts. */
export interface HostNames {
  readonly name: string;
  readonly address: string;
}

/** Names for one scenario: `ID1` is the first id that it shows. */
export class Normaliser {
  private readonly seen = new Map<string, Map<string, string>>();

  constructor(private readonly hosts: readonly HostNames[]) {}

  /** Text of a command or of an answer. */
  text(raw: string): string {
    let text = raw;
    this.hosts.forEach((host, index) => {
      text = text
        .replaceAll(new RegExp(`\\b${host.name}\\b`, 'g'), `NODE${index + 1}`)
        .replaceAll(
          new RegExp(`\\b${host.address.replaceAll('.', '\\.')}\\b`, 'g'),
          `ADDR${index + 1}`,
        );
    });
    text = text
      // `docker run` says so too if it waits already when the engine refuses the container.
      .replaceAll(
        /^time="[^"]*" level=error msg="error waiting for container: context canceled"\n?/gm,
        '',
      )
      .replaceAll(/unix:\/\/\S+\.sock/g, 'SOCKET')
      .replaceAll(/\S+\/(?:docker|skep)\.sock\b/g, 'SOCKET')
      .replaceAll(/SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})/g, (token) => this.name('TOKEN', token))
      .replaceAll(/SWMKEY-1-[\w+/]{43}/g, (key) => this.name('KEY', key))
      .replaceAll(
        /-----BEGIN CERTIFICATE-----[\w+/=\s\\]+-----END CERTIFICATE-----(?:\n|\\n)?/g,
        'PEM',
      )
      .replaceAll(/("CertIssuer(?:Subject|PublicKey)": ?)"[^"]+"/g, '$1"DER"')
      .replaceAll(/(Issuer (?:Subject|Public Key):\t).+/g, '$1DER')
      .replaceAll(/\b(?:sha256:)?[0-9a-f]{64}\b/g, (digest) => this.name('HEX', digest))
      .replaceAll(/\b[0-9a-z]{25}\b/g, (id) => this.name('ID', id.slice(0, 12)))
      .replaceAll(/(?<=\.\d\.)([0-9a-z]{12})(?=@)/g, (id) => this.name('ID', id))
      .replaceAll(/(?<="ID":")([0-9a-z]{12})(?=")/g, (id) => this.name('ID', id))
      .replaceAll(/^([0-9a-z]{12})(?=  |$)/gm, (id) => this.name('ID', id))
      .replaceAll(/\b(?!0001)\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)/g, 'TIME')
      .replaceAll(/\b(?!0001)\d{4}-\d\d-\d\d [\d:.]+ \+0000 utc\b/gi, 'TIME')
      .replaceAll(/(?:(?:about|less than) )?(?:an?|\d+) (?:second|minute)s? ago/gi, 'AGO')
      .replaceAll(/("Index": ?)\d+/g, '$1N')
      .replaceAll(/\b10\.0\.(\d+)\.(\d+)(?=\/24|\b)/g, (_, subnet: string, host: string) =>
        this.address(subnet, host),
      )
      .replaceAll(/\b(3[012]\d{3})\b(?=->|,|\}|\/)/g, (port) => this.name('PORT', port))
      .replaceAll(
        /(vxlanid_list": ?")(\d+(?:,\d+)*)/g,
        (_, head: string, list: string) =>
          head + list.replaceAll(/\d+/g, (number) => this.name('VNI', number)),
      )
      .replaceAll(/("PID": ?)[1-9]\d*/g, '$1N')
      .replaceAll(/("(?:NanoCPUs|MemoryBytes)": ?)\d{9,}/g, '$1CAPACITY')
      .replaceAll(/\b20\.10\.\d+\+\w+/g, 'ENGINE');
    text = text
      // What the engine and its host are; a scenario of its own looks at it.
      .replaceAll(/"Engine":\{"EngineVersion":.*?\}\]\}/g, '"Engine":"ENGINE"')
      .replaceAll(/"Engine": \{[^]*?\n\s*\]\n\s*\}/g, '"Engine": "ENGINE"')
      .replaceAll(
        /^Plugins:\n(?: .*\n)+Engine Version:.*\n(?:Engine Labels:\n(?: - .*\n)+)?/gm,
        'ENGINE\n',
      )
      .replaceAll(
        /(following services: )([\w-]+(?:, [\w-]+)*)/g,
        (_, head: string, names: string) => {
          return head + names.split(', ').sort().join(', ');
        },
      )
      // The CLI sends several `--subnet` in no fixed order.
      .replaceAll(
        /("Config":\[)(\{"Subnet":[^\]]*)\]/g,
        (_, head: string, pools: string) =>
          `${head}${pools
            .split(/(?<=\}),(?=\{)/)
            .sort()
            .join(',')}]`,
      );
    text = inOrder(printable(text));
    // Widths of columns depend on ids and on how long ago something was.
    return text.replaceAll(/(?<=\S) {3,}/g, '   ').replaceAll(/ +$/gm, '');
  }

  /** Body of an answer; lists come in the order of ids, which differs. */
  body(raw: string): string {
    const parsed = parseArray(raw);
    if (parsed === undefined) return this.text(raw.trim());
    const blank = (entry: unknown) => new Normaliser(this.hosts).text(JSON.stringify(entry));
    const sorted = parsed
      .map((entry) => [sortKey(entry), blank(entry), entry] as const)
      .sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
    return this.text(`[${sorted.map(([, , entry]) => JSON.stringify(entry)).join(',\n')}]`);
  }

  private address(subnet: string, host: string): string {
    // Addresses on the ingress network go on counting through all scenarios.
    return subnet === '0' ? 'INGRESSIP' : `${this.name('NET', subnet)}.${host}`;
  }

  private name(kind: string, value: string): string {
    const names = this.seen.get(kind) ?? new Map<string, string>();
    this.seen.set(kind, names);
    const known = names.get(value);
    if (known !== undefined) return known;
    const name = `${kind}${names.size + 1}`;
    names.set(value, name);
    return name;
  }
}

/** Frames of logs have headers of raw bytes. */
function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** The CLI deploys and removes what a stack holds in no fixed order. */
function inOrder(text: string): string {
  return text.replaceAll(/(?:^(?:Creating|Updating|Removing) \w+ .*\n){2,}/gm, (lines) => {
    return `${lines.trimEnd().split('\n').sort().join('\n')}\n`;
  });
}

function parseArray(raw: string): readonly unknown[] | undefined {
  if (!raw.startsWith('[')) return undefined;
  try {
    return JSON.parse(raw) as readonly unknown[];
  } catch {
    return undefined; // Not JSON after all: compared as text.
  }
}

/** Name, and slot of tasks. */
function sortKey(entry: unknown): string {
  const fields = entry as {
    readonly Name?: string;
    readonly Slot?: number;
    readonly Spec?: { readonly Name?: string };
  };
  return `${fields.Spec?.Name ?? fields.Name ?? ''} ${fields.Slot ?? ''}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
