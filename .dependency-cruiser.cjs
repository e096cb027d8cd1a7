// Who may import whom. The picture is in docs/architecture.md; this file is what enforces it.
const base =
  '^src/((errors|foreign-errors|config|ids|telemetry|json|files|package-root|random|serial-queue|' +
  'text-column|time)\\.ts$|platform/)';
const room = (from, to) => ({
  name: `${from}-imports-only-its-rooms`,
  severity: 'error',
  from: { path: `^src/${from}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^src/', pathNot: [base, `^src/${from}/`, ...to.map((name) => `^src/${name}/`)] },
});
/** A wing of serve/ imports the base, other rooms as serve/ may, and these wings. */
const wing = (from, to) => ({
  name: `serve-${from}-imports-only-its-wings`,
  severity: 'error',
  from: { path: `^src/serve/${from}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^src/serve/', pathNot: [from, ...to].map((name) => `^src/serve/${name}/`) },
});
/** A third party that is loaded in these files and nowhere else. */
const only = (name, packagePattern, files) => ({
  name: `${name}-in-one-place`,
  severity: 'error',
  from: { path: '^src/', pathNot: [...files, '\\.test\\.ts$'] },
  to: { path: `node_modules/${packagePattern}` },
});
/** A file of the package tandem-offline that is loaded in these files and nowhere else. */
const offline = (file, files) => ({
  name: `${file}-in-one-place`,
  severity: 'error',
  from: { path: '^src/', pathNot: [...files, '\\.test\\.ts$'] },
  to: { path: `^packages/offline/${file}\\.` },
});

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    room('data', []),
    room('features', []),
    room('native', ['features']),
    room('backend', ['native']),
    room('store', ['features']),
    room('retrieval', ['native']),
    room('bundle', ['features', 'native', 'retrieval']),
    room('model', ['backend', 'features', 'bundle', 'data']),
    room('evaluate', ['model', 'retrieval', 'features', 'data', 'bundle']),
    room('world', ['evaluate', 'data']),
    room('experiment', ['evaluate', 'model', 'data', 'world']),
    room('encode', ['model', 'native', 'bundle', 'store', 'retrieval', 'features', 'data']),
    room('serve', ['store', 'retrieval', 'native', 'bundle', 'features']),
    {
      name: 'api-below-cli',
      severity: 'error',
      from: { path: '^src/api/' },
      to: { path: '^src/cli/' },
    },
    wing('request', []),
    wing('metrics', []),
    wing('admission', ['metrics']),
    wing('engine', ['request', 'metrics']),
    wing('retrieve', ['request', 'metrics', 'engine']),
    wing('answer', ['request', 'metrics', 'engine', 'retrieve']),
    wing('ingest', ['request', 'metrics', 'engine']),
    {
      name: 'serve-below-web-and-process',
      comment: 'The request path knows neither transports nor processes.',
      severity: 'error',
      from: { path: '^src/serve/[^/]+\\.ts$', pathNot: '\\.test\\.ts$' },
      to: { path: '^src/serve/(web|process)/' },
    },
    {
      name: 'serve-web-below-process',
      severity: 'error',
      from: { path: '^src/serve/web/', pathNot: '\\.test\\.ts$' },
      to: { path: '^src/serve/process/' },
    },
    {
      name: 'base-imports-nothing',
      severity: 'error',
      from: { path: base },
      to: { path: '^src/', pathNot: base },
    },
    {
      name: 'serve-never-reaches-offline',
      comment:
        'A server is installed without tandem-offline, and starts in well under a second because ' +
        'no training code is on its path.',
      severity: 'error',
      from: { path: '^src/serve/', pathNot: '\\.test\\.ts$' },
      to: { path: '^packages/offline/', reachable: true },
    },
    only('uwebsockets', '(uWebSockets.js|uwebsockets|@trufflesuite)', [
      '^src/serve/web/(transport-uws|uws-binary)\\.ts$',
    ]),
    only('lmdb', 'lmdb', ['^src/store/lmdb-store\\.ts$']),
    only('ioredis', 'ioredis', ['^src/store/redis-store\\.ts$']),
    offline('duckdb', ['^src/data/duckdb\\.ts$']),
    offline('tfjs', ['^src/backend/']),
    offline('vega', ['^src/evaluate/report/svg\\.ts$']),
    {
      name: 'offline-through-its-package',
      comment: 'A server install lacks these packages: import them from tandem-offline.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: 'node_modules/(@tensorflow|@duckdb|vega|ml-matrix|hdr-histogram-js)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
