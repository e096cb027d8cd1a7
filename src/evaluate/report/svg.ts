// Renders the specification of a chart as SVG text. Only this file uses vega.

import type { TopLevelSpec } from 'tandem-offline/vega';

type WithoutFrame<T> = T extends unknown ? Omit<T, '$schema' | 'background'> : never;

/** A vega-lite specification without the fields that all charts of this project share. */
export type ChartSpec = WithoutFrame<TopLevelSpec>;

/** Renders a chart as SVG text. Loads vega when called, which takes half a second. */
export async function renderSvg(chart: ChartSpec): Promise<string> {
  const { vega, vegaLite } = await import('tandem-offline/vega');
  const { spec } = vegaLite.compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    ...chart,
  });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
