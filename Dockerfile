# The image of all `web-traffic` commands: `docker run IMAGE` runs a worker, `docker run IMAGE status` the status.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
# Neither optional packages (native parts of build tools) nor Temporal's engines for other platforms are needed to run.
RUN npm prune --omit=dev --omit=optional \
 && find node_modules/@temporalio/core-bridge/releases -mindepth 1 -maxdepth 1 ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -r {} +

FROM node:24.21.0-bookworm-slim
# Certificate authorities for TLS connections to Temporal.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production MALLOC_ARENA_MAX=2
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
COPY bin ./bin
USER node
# In this form signals reach node, which drains. The options are those of bin/web-traffic.js.
ENTRYPOINT ["node", "--single-threaded-gc", "--max-semi-space-size=16", "/app/bin/web-traffic.js"]
CMD ["worker"]
