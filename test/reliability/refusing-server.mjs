// A server that only refuses, with the answer of a full server: its latency is that of the client
// and the machine. Writes {"port": n} to standard error when it answers.
import uws from 'uWebSockets.js';

const BODY = JSON.stringify({
  error: {
    code: 'ERR_OVERLOADED',
    message: 'Expected at most 8 open requests, which this server answers without a queue.',
  },
});

const app = uws.App();
app.any('/*', (response) => {
  response.onAborted(() => undefined);
  response.cork(() => {
    response.writeStatus('503 Service Unavailable');
    response.writeHeader('Content-Type', 'application/json');
    response.writeHeader('Retry-After', '1');
    response.end(BODY);
  });
});
app.listen('127.0.0.1', 0, (socket) => {
  process.stderr.write(`${JSON.stringify({ port: uws.us_socket_local_port(socket) })}\n`);
});
