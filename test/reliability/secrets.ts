// Searches for API keys and a Redis password in everything that a server and the commands around it
// write, print and answer, over TLS by uWebSockets. A shared machine is too noisy to time whether
// keys are compared in constant time, so this row counts calls of crypto.timingSafeEqual(), for
// known and unknown key ids.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { runCli } from '../support/cli.ts';
import { freePort } from '../support/redis.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const PASSWORD = 'hunter2-of-the-store';
const COMPARED = 'compared in constant time';
/**
 * A module that is loaded before the server and writes a line whenever two digests are compared.
 */
const COUNTING = `--import=data:text/javascript,${encodeURIComponent(`
  import crypto from 'node:crypto';
  import { syncBuiltinESMExports } from 'node:module';
  const { timingSafeEqual } = crypto;
  crypto.timingSafeEqual = (a, b) => {
    process.stderr.write('${COMPARED}\\n');
    return timingSafeEqual(a, b);
  };
  syncBuiltinESMExports();`)}`;
const STOP_MS = 5000;

export const SECRETS: Row = {
  name: 'secrets',
  fault: 'API keys or the password of Redis in files, logs, answers or commands',
  method:
    'A server with API keys and TLS gets right, wrong and misplaced keys; commands get a Redis ' +
    'location with a password. All logs, answers, files and outputs are searched for the ' +
    'secrets.',
  targets: [
    'API keys are stored as digests and compared by crypto.timingSafeEqual.',
    'No key and no password of Redis is in any log, answer, metric, file or command output.',
    'TLS works with a certificate that the client trusts.',
  ],
  run: async (_scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-secrets-'));
    /** Everything that was written, printed or answered, by where it came from. */
    const seen = new Map<string, string>();
    const run = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await runCli(args, {
        env: { TANDEM_LOG_LEVEL: 'trace' },
        killAfterMs: STOP_MS,
      });
      seen.set(`tandem ${args.slice(0, 2).join(' ')} (${seen.size})`, stdout + stderr);
      return stdout;
    };
    try {
      const { bundles, store } = await makeVersions(folder, { versions: 1, items: 60, users: 10 });
      const keyFile = join(folder, 'keys.json');
      const add = async (name: string, role: string): Promise<string> => {
        const added = await runCli(['keys', 'add', keyFile, '--name', name, '--role', role]);
        if (added.code !== 0) throw new Error(added.stderr);
        return added.stdout.trim();
      };
      const [web, chief] = [await add('web', 'candidates'), await add('chief', 'admin')];
      /** A wrong key with a known id, one with an unknown id, and texts that are not keys. */
      const wrong = {
        known: `${web.slice(0, -1)}${web.endsWith('A') ? 'B' : 'A'}`,
        unknown: web.replace(/^tandem_.{12}/, 'tandem_000000000000'),
        hashed: createHash('sha256').update(web).digest('hex'),
        longer: `${web}x`,
      };
      const pem = makeCertificate(folder);
      const accessLog = join(folder, 'access.log');
      const flags = {
        bundles,
        store,
        keys: keyFile,
        'access-log': accessLog,
        'admin-port': '0',
        'tls-cert': pem.cert,
        'tls-key': pem.key,
      };
      const server = await ServerChild.start(flags, {
        TANDEM_LOG_LEVEL: 'trace',
        NODE_OPTIONS: COUNTING,
      });
      try {
        const ca = readFileSync(pem.cert);
        const ask = async (
          path: string,
          authorization: string | undefined,
          body?: object,
          port = server.port,
        ): Promise<number> => {
          const headers = authorization === undefined ? {} : { Authorization: authorization };
          const { status, text } = await askTls({ port, path, ca, headers }, body);
          seen.set(`answer ${status} of ${path} (${seen.size})`, text);
          return status;
        };
        const comparisons = async (key: string): Promise<number> => {
          const before = server.log.split(COMPARED).length;
          const status = await ask('/v1/candidates', `Bearer ${key}`, questionOf('user-1'));
          if (status !== (key === web ? 200 : 401))
            figures.misses.push(`a key that is ${key === web ? 'right' : 'wrong'}: ${status}`);
          await sleep(100);
          return server.log.split(COMPARED).length - before;
        };
        const calls = 'timingSafeEqual calls for';
        figures.atLeast(`${calls} a right key`, await comparisons(web), 1);
        figures.atLeast(`${calls} a wrong key with a known id`, await comparisons(wrong.known), 1);
        const unknown = await comparisons(wrong.unknown);
        figures.atLeast(`${calls} a wrong key with an unknown id`, unknown, 1);
        for (const text of [wrong.hashed, wrong.longer]) await comparisons(text);
        for (const odd of [`Basic ${web}`, web, `Bearer  ${web} ${web}`, `bearer ${web}\t`])
          await ask('/v1/candidates', odd, questionOf('user-1'));
        await ask(`/v1/candidates?api_key=${web}`, undefined, questionOf('user-1'));
        await ask('/metrics', `Bearer ${web}`);
        await ask('/v1/candidates', `Bearer ${chief}`, { user: 1 });
        for (const path of ['/metrics', '/version', '/openapi.json', '/v2/models/tandem'])
          figures.equals(`status of ${path}`, await ask(path, `Bearer ${chief}`), 200);
        await ask('/bundles', `Bearer ${chief}`, undefined, server.adminPort).catch(() =>
          seen.set('admin port', ''),
        );
        const peer = await certificateOf(server.port, ca);
        figures.report('TLS version', peer.protocol);
        figures.report('names in the certificate', peer.names);
        figures.holds('the client trusts the certificate', peer.trusted);
        server.expectAlive();
      } finally {
        await server.end();
      }
      seen.set('log', server.log);
      seen.set('access log', readFileSync(accessLog, 'utf8'));
      seen.set('key file', readFileSync(keyFile, 'utf8'));
      figures.atLeast(
        'keys stored as digests',
        [web, chief].filter((key) =>
          seen.get('key file')!.includes(createHash('sha256').update(key).digest('hex')),
        ).length,
        2,
      );

      const redis = `redis://tandem:${PASSWORD}@127.0.0.1:${await freePort()}/0`;
      const places = ['--bundles', bundles, '--store', redis, '--keys', keyFile];
      const printed = await run('config', 'print', ...places);
      figures.atLeast(
        'store locations that tandem config print shows without the password',
        printed.split('***@127.0.0.1').length - 1,
        1,
      );
      await run('doctor', '--bundles', bundles, '--store', redis);
      await run('doctor', '--bundles', bundles, '--store', redis, '--json');
      await run('serve', ...places, '--port', '0');
      await run('serve', '--bundles', bundles, '--store', `${redis}x?y=1`, '--port', '0');
      await run('keys', 'list', keyFile);

      /** The part of a key after its id is the secret. */
      const secrets = [web, chief, wrong.known, wrong.longer, PASSWORD].map((key) =>
        key.slice(-40),
      );
      const leaks = [...seen].filter(([, text]) => secrets.some((secret) => text.includes(secret)));
      figures.report('texts searched', seen.size);
      figures.report('characters searched', [...seen.values()].join('').length);
      figures.atMost('texts with a secret', leaks.length, 0);
      for (const [where] of leaks) figures.misses.push(`a secret in: ${where}`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function makeCertificate(folder: string): { readonly cert: string; readonly key: string } {
  const pem = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '1',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
      '-keyout',
      pem.key,
      '-out',
      pem.cert,
    ],
    { stdio: 'ignore' },
  );
  return pem;
}

function askTls(options: RequestOptions, body?: object): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const sent = request({ host: '127.0.0.1', method, agent: false, ...options }, (response) => {
      let text = JSON.stringify(response.headers);
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode!, text });
      });
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/**
 * Makes a TLS handshake: the certificate that the server shows, and whether the client trusts it.
 */
function certificateOf(
  port: number,
  ca: Buffer,
): Promise<{ protocol: string; names: string; trusted: boolean }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', ca, servername: 'localhost' }, () => {
      resolve({
        protocol: socket.getProtocol() ?? 'none',
        names: socket.getPeerCertificate().subjectaltname ?? 'none',
        trusted: socket.authorized,
      });
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
