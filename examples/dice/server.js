// Rolls a die at each request. The listening socket is inherited, as `listen: descriptor` says.
const { createServer } = require("node:http");

const FACES = "⚀⚁⚂⚃⚄⚅";
const page = (face) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Dice</title>
<style>body { font: 40vmin system-ui; display: grid; place-items: center; height: 90vh; margin: 0 }</style>
<body>${face}</body>
</html>
`;

const server = createServer((request, response) => {
  if (request.url === "/healthz") {
    response.end("well\n");
    return;
  }
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(page(FACES[Math.floor(Math.random() * FACES.length)]));
});

server.listen({ fd: 3 }, () => console.log(`process ${process.pid} is listening`));
