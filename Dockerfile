# The image of every `web-traffic` command: `docker run IMAGE` runs a worker, `docker run IMAGE status` any other.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
# What only a development cluster needs (a Postgres of its own) is optional, and goes too; so do other platforms' engines.
RUN npm prune --omit=dev --omit=optional \
 && find node_modules/@temporalio/core-bridge/releases -mindepth 1 -maxdepth 1 ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -r {} +

FROM node:24.21.0-bookworm-slim
# The certificate authorities that TLS connections to Temporal are checked against.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production MALLOC_ARENA_MAX=2
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
COPY bin ./bin
USER node
# In this form a signal reaches node itself, which drains. The options are those of bin/web-traffic.js.
ENTRYPOINT ["node", "--single-threaded-gc", "--max-semi-space-size=16", "/app/bin/web-traffic.js"]
CMD ["worker"]
