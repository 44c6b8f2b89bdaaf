# One image for every role: `docker run tokenwatch up --role detect`. It needs CLICKHOUSE_URL and REDIS_URL.
FROM node:22-bookworm-slim AS build
WORKDIR /app
# Alone, so that the packages are installed again only when they change.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev
COPY . .
# The embedded engine (550 MB) and the private Redis are for one machine; in a container both are services of their own.
RUN node scripts/build.mjs \
  && npm prune --omit=dev \
  && rm -rf node_modules/chdb node_modules/@chdb

FROM node:22-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production \
  TOKENWATCH_LISTEN=0.0.0.0:8653 \
  TOKENWATCH_DATA=/var/lib/tokenwatch
COPY --from=build /app/package.json /app/LICENSE /app/NOTICE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# A volume that is made new takes over the owner of this folder.
RUN install -d -o node -g node -m 0700 /var/lib/tokenwatch
USER node
VOLUME /var/lib/tokenwatch
EXPOSE 8653
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8653/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--enable-source-maps", "dist/cli/main.js"]
CMD ["up"]
