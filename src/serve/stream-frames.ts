// Answers as frames of a WebSocket: the body that HTTP has, behind the id of its subject. docs/binary.md has the layout of binary ones.

/** @param body - JSON text of an object, or bytes of application/x-tandem. */
export function answerFrame(id: string | number, body: string | Uint8Array): string | Uint8Array {
  if (typeof body === 'string')
    return `{"type":"candidates","id":${JSON.stringify(id)},${body.slice(1)}`;
  const idJson = JSON.stringify(id);
  const idBytes = Buffer.byteLength(idJson);
  const front = Buffer.allocUnsafe(2 + idBytes);
  front.writeUInt16LE(idBytes);
  front.write(idJson, 2, 'utf8');
  return Buffer.concat([front, body]);
}
