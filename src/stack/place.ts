/**
 * Where in a compose file something stands, for errors and warnings: `services.web.ports[0]`.
 */
import { SkepError } from '../model/errors.js';

/** A place in one file; makes the errors and collects the warnings about it. */
export class Place {
  constructor(
    readonly file: string,
    readonly path: string,
    readonly warnings: string[],
  ) {}

  /** The entry of a mapping here. */
  key(name: string): Place {
    return new Place(this.file, this.path === '' ? name : `${this.path}.${name}`, this.warnings);
  }

  /** The entry of a list here. */
  index(at: number): Place {
    return new Place(this.file, `${this.path}[${at}]`, this.warnings);
  }

  /** An error about this place, to be thrown. */
  error(text: string): SkepError {
    const where = this.path === '' ? this.file : `${this.file}: ${this.path}`;
    return new SkepError('invalid_argument', `${where}: ${text}`);
  }

  /** Something that a person should know, and that stops nothing. */
  warn(text: string): void {
    this.warnings.push(`${this.path}: ${text}`);
  }
}
