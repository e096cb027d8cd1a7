// The second part of the conformance suite of transports: forms of HTTP/1 that proxies, probes and
// careless clients send. Where uWebSockets cannot answer, the test says what it does instead, and
// docs/serving.md says how to set a load balancer.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listenNode } from '../src/serve/web/transport-node.ts';
import { listenUws } from '../src/serve/web/transport-uws.ts';
import type { HttpReply, Transport, TransportOptions } from '../src/serve/web/transport.ts';
import { findUws } from '../src/serve/web/uws-binary.ts';
import { raw } from './support/raw-http.ts';

/** uWebSockets closes a connection without a request after 10 s, and looks every 4 s. */
const MAX_IDLE_MS = 16_000;
const HOST = 'Host: a\r\n';

const uws = findUws();
/** Why the suite of uWebSockets is skipped on this machine. */
const whyNoUws = uws.uws === undefined && uws.reason;

for (const [name, listen] of [
  ['uws', listenUws],
  ['node', listenNode],
] as const)
  describe(`HTTP on transport ${name}`, { skip: name === 'uws' && whyNoUws }, () => {
    const answersAll = name === 'node';
    let transport: Transport;
    let base = '';
    const handled: string[] = [];
    const options: TransportOptions = {
      host: '127.0.0.1',
      port: 0,
      maxBodyBytes: 1000,
      maxFrameBytes: 1000,
      socketPath: '/socket',
      socketIdleSeconds: 8,
      handleHead: () => undefined,
      handleRequest({ method, path, body }): HttpReply | Promise<HttpReply> {
        const text = `<${method} ${path} ${body?.toString('utf8')}>`;
        handled.push(text);
        const reply = { status: 201, contentType: 'text/plain', body: text };
        if (path === '/slow') return sleep(50).then(() => reply);
        return path === '/async' ? sleep(1).then(() => reply) : reply;
      },
      handleUpgrade: () => assert.fail(),
      tls: undefined,
      portSharing: 'none',
    };

    before(async () => {
      transport = await listen(options);
      base = `127.0.0.1:${transport.port}`;
    });
    after(() => transport.close());

    it(
      'answers HTTP/1.0, absolute URIs, OPTIONS * and CONNECT, or refuses them',
      { timeout: 2 * MAX_IDLE_MS },
      async () => {
        const forms: [string, RegExp][] = [
          [`GET /old HTTP/1.0\r\n${HOST}\r\n`, /^HTTP\/1.1 201 [^]*<GET \/old >$/],
          ['GET /old HTTP/1.0\r\n\r\n', /^HTTP\/1.1 201 [^]*<GET \/old >$/],
          [`GET http://a/abs?x HTTP/1.1\r\n${HOST}\r\n`, /^HTTP\/1.1 201 [^]*<GET \/abs >$/],
          [`GET http://a HTTP/1.1\r\n${HOST}\r\n`, /^HTTP\/1.1 201 [^]*<GET \/ >$/],
          [`OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, /^HTTP\/1.1 201 [^]*<OPTIONS \* >$/],
          [`CONNECT a:80 HTTP/1.1\r\n${HOST}\r\n`, /^HTTP\/1.1 405 /],
        ];
        const before = handled.length;
        const silenceMs = answersAll ? 500 : MAX_IDLE_MS;
        const answers = await Promise.all(
          forms.map(([bytes]) => raw(base, [bytes], { silenceMs })),
        );
        for (const [i, answer] of answers.entries())
          assert.match(answer, answersAll ? forms[i]![1] : /^(HTTP\/1.1 505 |$)/, forms[i]![0]);
        if (!answersAll) assert.equal(handled.length, before);
      },
    );

    it('closes the connection after an answer to HTTP/1.0', { skip: !answersAll }, async () => {
      const startedMs = performance.now();
      const answer = await raw(base, ['GET /old HTTP/1.0\r\n\r\n'], { silenceMs: 5000 });
      assert.match(answer, /^Connection: close\r$/m);
      assert.ok(performance.now() - startedMs < 4000);
    });

    it('passes OPTIONS of a path to the handler', async () => {
      assert.match(
        await raw(base, [`OPTIONS /a HTTP/1.1\r\n${HOST}\r\n`]),
        /^HTTP\/1.1 201 [^]*<OPTIONS \/a >$/,
      );
    });

    it('answers or closes at once when it does not know the method', async () => {
      const answer = await raw(base, [`BREW /a HTTP/1.1\r\n${HOST}\r\n`]);
      assert.match(answer, /^(HTTP\/1.1 400 [^]*|HTTP\/1.1 201 [^]*<BREW \/a >|)$/);
    });

    it('answers requests of a packet in order when the handler answers at once', async () => {
      const packet = ['1', '2', '3'].map((body) => post('/sync', body)).join('');
      const answers = await raw(base, [packet]);
      assert.deepEqual(bodiesOf(answers), ['/sync 1', '/sync 2', '/sync 3']);
    });

    it('answers pipelined requests in order, or closes and answers none', async () => {
      const packet = post('/slow', '1') + post('/async', '2') + post('/sync', '3');
      const answers = await raw(base, [packet]);
      assert.deepEqual(bodiesOf(answers), answersAll ? ['/slow 1', '/async 2', '/sync 3'] : []);
      if (!answersAll) assert.equal(answers, '');
      const later = await raw(base, [post('/slow', '1'), post('/async', '2')]);
      assert.deepEqual(bodiesOf(later), answersAll ? ['/slow 1', '/async 2'] : []);
      assert.equal(transport.openRequests(), 0);
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
    });

    it('answers the next request on a connection after each answer', async () => {
      const answers = await raw(base, [post('/sync', '1'), post('/sync', '2'), post('/sync', '3')]);
      assert.deepEqual(bodiesOf(answers), ['/sync 1', '/sync 2', '/sync 3']);
    });

    it('asks for the body with 100 Continue', async () => {
      const head = `POST /a HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n`;
      const answer = await raw(base, [head, 'body']);
      assert.match(answer, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 201 [^]*<POST \/a body>$/);
    });

    it('joins chunks of any size, and reads the next request after them', async () => {
      const head = `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`;
      const bytes = `${head}1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n`;
      const bytewise = [bytes.slice(0, head.length), ...bytes.slice(head.length).split('')];
      const answers = await raw(base, [...bytewise, post('/b', 'next')]);
      assert.deepEqual(bodiesOf(answers), ['/a abcd', '/b next']);
    });

    it('never takes a body with two lengths for two requests', async () => {
      const before = handled.length;
      const answer = await raw(base, [
        `POST /a HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n` +
          '0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n',
      ]);
      assert.match(answer, /^(HTTP\/1.1 400 |$)/);
      assert.equal(handled.length, before);
    });

    it('answers a client that has shut down its side, or closes', async () => {
      const answer = await raw(base, [`GET /async HTTP/1.1\r\n${HOST}\r\n`], { halfClose: true });
      if (answersAll) assert.deepEqual(bodiesOf(answer), []);
      assert.match(answer, answersAll ? /<GET \/async >$/ : /^(HTTP\/1.1 201 [^]*|)$/);
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
    });
  });

function post(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Path and body of each POST request that an answer repeats. */
function bodiesOf(answers: string): string[] {
  return Array.from(answers.matchAll(/<POST (.*?)>/g), ([, text]) => text!);
}
