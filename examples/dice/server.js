// Rolls a die at each request. The listening socket is inherited, as `listen: descriptor` says.
const { createServer } = require("node:http");

const FACES = "⚀⚁⚂⚃⚄⚅";
const page = (face) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dice</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark }
  body { display: grid; place-items: center; height: 90vh; margin: 0 }
  h1 { font: 40vmin system-ui; margin: 0 }
</style>
<main><h1>${face}</h1></main>
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
