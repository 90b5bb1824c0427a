// A name server of one address, for the host's Node.js: every A question gets 192.0.2.53.
import dgram from 'node:dgram';

const server = dgram.createSocket('udp4');
server.on('message', (query, client) => {
  const end = query.indexOf(0, 12) + 5;
  const isA = query.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(isA ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 53]);
  const parts = [header, query.subarray(12, end), ...(isA ? [answer] : [])];
  server.send(Buffer.concat(parts), client.port, client.address);
});
server.bind(53);
