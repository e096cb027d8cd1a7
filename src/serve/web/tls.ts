// Certificate and key of the server. They are checked before a transport opens them, because the
// errors of OpenSSL do not name the file.

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import { reasonOf } from '../../foreign-errors.ts';
import type { TlsFiles } from './transport.ts';

type TlsSetting = 'tlsCert' | 'tlsKey';

/**
 * @returns undefined when the settings name neither file.
 * @throws TandemError ERR_CONFIG_INVALID when a file is missing or has the wrong content, or when
 *   the key does not belong to the certificate.
 */
export function tlsFiles({ tlsCert, tlsKey }: ServerSettings): TlsFiles | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined) throw tlsError('tlsCert', 'there is a tlsKey and no tlsCert');
  if (tlsKey === undefined) throw tlsError('tlsKey', 'there is a tlsCert and no tlsKey');
  const certificate = attempt('tlsCert', tlsCert, (pem) => new X509Certificate(pem));
  const privateKey = attempt('tlsKey', tlsKey, (pem) => createPrivateKey(pem));
  if (!certificate.checkPrivateKey(privateKey))
    throw tlsError('tlsKey', `${tlsKey} is not the key of the first certificate in ${tlsCert}`);
  return { certFile: tlsCert, keyFile: tlsKey };
}

function attempt<T>(setting: TlsSetting, path: string, read: (pem: Buffer) => T): T {
  try {
    return read(readFileSync(path));
  } catch (cause) {
    throw tlsError(setting, `${path}: ${reasonOf(cause)}`, cause);
  }
}

function tlsError(setting: TlsSetting, found: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_CONFIG_INVALID',
    'Expected a certificate chain (setting tlsCert) and its private key without a passphrase ' +
      `(setting tlsKey) as PEM files, but: ${found}.`,
    { cause, details: { setting } },
  );
}
