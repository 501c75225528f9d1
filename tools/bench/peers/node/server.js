// An echo server on node (libuv): pipe is what its documentation recommends,
// and it stops reading from a client that does not read.
//
// Usage: node server.js PORT
require("node:net")
  .createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  })
  .listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
