/** Errors of templates, with Go's texts. */

/** Why a template could not be parsed or executed. */
export class TemplateError extends Error {
  static readonly errorName = 'TemplateError';
  override readonly name = TemplateError.errorName;
}
