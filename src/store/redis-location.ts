// Where a Redis store is, as it may be shown.

/** Without user and password; what is no URL stays as it is. */
export function withoutSecrets(location: string): string {
  return location.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^]*@/i, '$1***@');
}
