// Where secrets may not be: API keys and a Redis password are looked for in everything that a server and the commands around it write, say
// and answer, over TLS as uWebSockets has it. Whether keys are compared in constant time cannot be timed on a shared machine: that
// crypto.timingSafeEqual() is what compares them, known ids and unknown ones alike, can be counted.

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
/** Loaded before the server: says so whenever two digests are compared. */
const COUNTING = `--import=data:text/javascript,${encodeURIComponent(`
  import crypto from 'node:crypto';
  import { syncBuiltinESMExports } from 'node:module';
  const { timingSafeEqual } = crypto;
  crypto.timingSafeEqual = (a, b) => (process.stderr.write('${COMPARED}\\n'), timingSafeEqual(a, b));
  syncBuiltinESMExports();`)}`;
const STOP_MS = 5000;

export const SECRETS: Row = {
  name: 'secrets',
  target:
    'API keys hashed at rest, compared by timingSafeEqual, in no log, answer, metric or command; nor is the password of Redis; TLS by uWebSockets',
  run: async (_scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-secrets-'));
    /** By where it came from: everything that was written, said or answered. */
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
      const { bundles, store } = await makeVersions(folder, {
        ...{ versions: 1, items: 60, users: 10 },
      });
      const keyFile = join(folder, 'keys.json');
      const add = async (name: string, role: string): Promise<string> => {
        const added = await runCli(['keys', 'add', keyFile, '--name', name, '--role', role]);
        if (added.code !== 0) throw new Error(added.stderr);
        return added.stdout.trim();
      };
      const [web, chief] = [await add('web', 'candidates'), await add('chief', 'admin')];
      /** A key whose id is known, one whose id is not, and others that are none. */
      const wrong = {
        known: `${web.slice(0, -1)}${web.endsWith('A') ? 'B' : 'A'}`,
        unknown: web.replace(/^tandem_.{12}/, 'tandem_000000000000'),
        hashed: createHash('sha256').update(web).digest('hex'),
        longer: `${web}x`,
      };
      const pem = makeCertificate(folder);
      const accessLog = join(folder, 'access.log');
      const flags = {
        ...{ bundles, store, keys: keyFile, 'access-log': accessLog, 'admin-port': '0' },
        ...{ 'tls-cert': pem.cert, 'tls-key': pem.key },
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
        figures.atLeast(
          'comparisons by timingSafeEqual for a right key',
          await comparisons(web),
          1,
        );
        figures.atLeast('for a wrong one of a known id', await comparisons(wrong.known), 1);
        figures.atLeast('for one of an unknown id', await comparisons(wrong.unknown), 1);
        for (const text of [wrong.hashed, wrong.longer]) await comparisons(text);
        for (const odd of [`Basic ${web}`, web, `Bearer  ${web} ${web}`, `bearer ${web}\t`])
          await ask('/v1/candidates', odd, questionOf('user-1'));
        await ask(`/v1/candidates?api_key=${web}`, undefined, questionOf('user-1'));
        await ask('/metrics', `Bearer ${web}`);
        await ask('/v1/candidates', `Bearer ${chief}`, { user: 1 });
        for (const path of ['/metrics', '/version', '/openapi.json', '/v2/models/tandem'])
          figures.atMost(`status of ${path}`, await ask(path, `Bearer ${chief}`), 200);
        await ask('/bundles', `Bearer ${chief}`, undefined, server.adminPort).catch(() =>
          seen.set('admin port', ''),
        );
        const peer = await certificateOf(server.port, ca);
        figures.note(`TLS: ${peer.protocol}, ${peer.names}`);
        figures.atLeast('handshakes with a certificate that the client trusts', peer.trusted, 1);
        server.expectAlive();
      } finally {
        await server.end();
      }
      seen.set('log', server.log);
      seen.set('access log', readFileSync(accessLog, 'utf8'));
      seen.set('key file', readFileSync(keyFile, 'utf8'));
      figures.atLeast(
        'digests in the key file',
        [web, chief].filter((key) =>
          seen.get('key file')!.includes(createHash('sha256').update(key).digest('hex')),
        ).length,
        2,
      );

      const redis = `redis://tandem:${PASSWORD}@127.0.0.1:${await freePort()}/0`;
      const places = ['--bundles', bundles, '--store', redis, '--keys', keyFile];
      const printed = await run('config', 'print', ...places);
      figures.atLeast(
        'stores in tandem config print',
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
      figures.note(`${seen.size} texts of ${[...seen.values()].join('').length} characters read`);
      figures.atMost('with a secret in them', leaks.length, 0);
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
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-days', '1', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
      ...['-keyout', pem.key, '-out', pem.cert],
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

/** A handshake of its own: what the server shows, and whether it is the certificate that it was given. */
function certificateOf(
  port: number,
  ca: Buffer,
): Promise<{ protocol: string; names: string; trusted: number }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', ca, servername: 'localhost' }, () => {
      resolve({
        protocol: socket.getProtocol() ?? 'none',
        names: socket.getPeerCertificate().subjectaltname ?? 'none',
        trusted: Number(socket.authorized),
      });
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
