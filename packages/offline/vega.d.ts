export * as vega from 'vega';
export * as vegaLite from 'vega-lite';
export type { TopLevelSpec } from 'vega-lite';
